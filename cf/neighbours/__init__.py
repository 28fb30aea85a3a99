"""Nearest neighbours: similarities, weights that go before them, and exact best-k products of sparse matrices."""

from cf.neighbours.nearest import best_of_product, neighbours
from cf.neighbours.similarity import BM25, Cosine, Pearson, Plain, Reweighting, Similarity, TfIdf

__all__ = [
    "BM25",
    "Cosine",
    "Pearson",
    "Plain",
    "Reweighting",
    "Similarity",
    "TfIdf",
    "best_of_product",
    "neighbours",
]
