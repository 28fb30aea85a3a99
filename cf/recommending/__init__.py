"""From scores to recommendations: the best N, what goes with a basket, what is similar, and why."""

from cf.recommending.diversity import Diversity
from cf.recommending.explaining import Explanation, explain
from cf.recommending.ranking import Recommendations, Rules, goes_with, recommend, recommend_all
from cf.recommending.similar import similar_items

__all__ = [
    "Diversity",
    "Explanation",
    "Recommendations",
    "Rules",
    "explain",
    "goes_with",
    "recommend",
    "recommend_all",
    "similar_items",
]
