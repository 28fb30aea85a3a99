"""Checks every file of a campaign, and says what was understood."""

from allocator.checking.files import Inputs, find_inputs
from allocator.checking.report import Report, check

__all__ = ["Inputs", "Report", "check", "find_inputs"]
