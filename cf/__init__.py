"""What a user wants: collaborative filtering and calibrated relevance. Arrays in, arrays out.

events -> Interactions -> a recommender's fit -> recommend, explain, similar_items, goes_with
                       -> Relevance.fit -> P(user buys from a scope in the window), expected spend
"""

from cf.boosting import Boosting
from cf.errors import CannotLearn, CfError, EventsError, FileError, UsageError
from cf.evaluation import Comparison, Evaluation, RandomSplit, TemporalSplit, compare, evaluate
from cf.events import EventFiles, Events, Faults
from cf.events.columns import KINDS
from cf.ids import Ids
from cf.interactions import Interactions, Weighting
from cf.models import (
    Als,
    Attributes,
    Content,
    Ease,
    Frequency,
    Hybrid,
    ItemKNN,
    Model,
    Popularity,
    Reason,
    Recommender,
    Repeat,
    Segments,
    TifuKNN,
    TwoTower,
    UserKNN,
    usual_parts,
)
from cf.neighbours import BM25, Cosine, Pearson, Plain, TfIdf
from cf.progress import Progress, progress_bar
from cf.recommending import (
    Diversity,
    Explanation,
    Recommendations,
    Rules,
    explain,
    goes_with,
    recommend,
    recommend_all,
    similar_items,
)
from cf.relevance import Boosters, Foretold, Judgement, Relevance, RelevanceModel, Scopes, judge
from cf.storage import load, save

__all__ = [
    "BM25",
    "KINDS",
    "Als",
    "Attributes",
    "Boosters",
    "Boosting",
    "CannotLearn",
    "CfError",
    "Comparison",
    "Content",
    "Cosine",
    "Diversity",
    "Ease",
    "Evaluation",
    "EventFiles",
    "Events",
    "EventsError",
    "Explanation",
    "Faults",
    "FileError",
    "Foretold",
    "Frequency",
    "Hybrid",
    "Ids",
    "Interactions",
    "ItemKNN",
    "Judgement",
    "Model",
    "Pearson",
    "Plain",
    "Popularity",
    "Progress",
    "RandomSplit",
    "Reason",
    "Recommendations",
    "Recommender",
    "Relevance",
    "RelevanceModel",
    "Repeat",
    "Rules",
    "Scopes",
    "Segments",
    "TemporalSplit",
    "TfIdf",
    "TifuKNN",
    "TwoTower",
    "UsageError",
    "UserKNN",
    "Weighting",
    "compare",
    "evaluate",
    "explain",
    "goes_with",
    "judge",
    "load",
    "progress_bar",
    "recommend",
    "recommend_all",
    "save",
    "similar_items",
    "usual_parts",
]
