"""Recommenders behind one Protocol: parameters that fit, and fitted models that score any history."""

from cf.model import Model, Reason, Recommender
from cf.models.als import Als
from cf.models.content import Attributes, Content
from cf.models.ease import Ease
from cf.models.frequency import Frequency
from cf.models.hybrid import Hybrid, usual_parts
from cf.models.knn import ItemKNN, UserKNN
from cf.models.popularity import Popularity, Segments
from cf.models.repeat import Repeat
from cf.models.tifu import TifuKNN
from cf.models.two_tower import TwoTower

__all__ = [
    "Als",
    "Attributes",
    "Content",
    "Ease",
    "Frequency",
    "Hybrid",
    "ItemKNN",
    "Model",
    "Popularity",
    "Reason",
    "Recommender",
    "Repeat",
    "Segments",
    "TifuKNN",
    "TwoTower",
    "UserKNN",
    "usual_parts",
]
