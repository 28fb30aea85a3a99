"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float], None]  # a stage, and the share of it that is done (0 to 1; NaN: unknown)


def silent(stage: str, share: float) -> None:
    """Show nothing."""
