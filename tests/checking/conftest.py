"""Relevance of few trees, as in the tests of learning."""

from __future__ import annotations

from tests.learning.conftest import quick_relevance

__all__ = ["quick_relevance"]
