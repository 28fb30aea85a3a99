"""Every error that a caller can meet."""

from __future__ import annotations


class CfError(Exception):
    """Base of all errors raised on purpose; the message says what is wrong and what to do."""


class UsageError(CfError, ValueError):
    """An argument that cannot be used as asked."""


class CannotLearn(UsageError):
    """Events that say nothing of what a method learns from: too short a history, nothing bought again."""


class EventsError(CfError, ValueError):
    """Events that cannot be read as a whole: a column is missing, has another length or another type."""


class FileError(CfError, OSError):
    """A saved model that is corrupt, foreign, of another version, or cannot be written."""
