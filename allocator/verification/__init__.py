"""The independent check of a result. It shares no code with the solver: plain NumPy and exact sums."""

from allocator.verification.bounding import recompute_bound
from allocator.verification.checking import Certificate, verify

__all__ = ["Certificate", "recompute_bound", "verify"]
