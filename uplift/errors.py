"""What can go wrong, in words."""

from __future__ import annotations


class UpliftError(Exception):
    """Base of every error that this package raises on purpose."""


class TrialError(UpliftError, ValueError):
    """The trial's arrays cannot be used: which one, what is wrong, and what to do."""


class ModelFileError(UpliftError):
    """A saved model cannot be read: damaged, foreign, or of another version."""
