"""What to do after a command, as a command that can be copied: a planner need not know the way beforehand."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path


def command(*words: str, **options: str | Path | None) -> str:
    """Return `allocate WORDS --option value ...`; options that are `None` are left out, and `o` is `-o`."""
    parts = ["allocate", *words]
    for name, value in options.items():
        if value is not None:
            parts += ["-o" if name == "o" else f"--{name}", str(value)]
    return " ".join(shlex.quote(part) for part in parts)


def after_check(given: Mapping[str, str], has_budget: bool) -> str:
    """Return what to do with files that are sound."""
    campaign, users = given.get("campaign"), given.get("users")
    tried = given.get("trial_campaign", campaign)
    history = {part: given.get(part) for part in ("transactions", "products")}
    if history["transactions"] is None:
        history = {}
    if "offers" in given:
        budget = None if has_budget else "50000"
        return f"Next: {command(budget=budget, offers=given['offers'], campaign=campaign, users=users, o='plan')}"
    past = {"trial": given["trial"]} if "trial" in given else {"sent": given["sent"]} if "sent" in given else None
    if past is not None:
        return f"Next: {command('train', **past, campaign=tried, **history, users=users, o='model')}"
    return (
        "To plan, give offers; or, to have them predicted, a trial (users who drew lots for a coupon or none), or a list of who was "
        "sent what when (sent): see `allocate init`."
    )
