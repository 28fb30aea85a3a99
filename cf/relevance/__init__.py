"""Relevance: P(the user buys at least one item of the scope in the window anyway), calibrated, and the expected spend."""

from cf.relevance.judging import Judgement, judge
from cf.relevance.relevance import Boosters, Foretold, Relevance, RelevanceModel
from cf.relevance.scopes import Scopes

__all__ = ["Boosters", "Foretold", "Judgement", "Relevance", "RelevanceModel", "Scopes", "judge"]
