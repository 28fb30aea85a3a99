"""Who did what when: the log of interactions, and the weights read from it."""

from cf.interactions.log import Interactions
from cf.interactions.weighting import Weighting

__all__ = ["Interactions", "Weighting"]
