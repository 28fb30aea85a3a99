"""The files of a campaign: by name in a folder, or as they are given."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields, replace
from pathlib import Path

from allocator.errors import UsageError

FILES = {"campaign": "campaign.toml", "trial_campaign": "trial.toml"}
ENDINGS = (".parquet", ".pq", ".csv", ".csv.gz", "")  # the last: a folder of files


@dataclass(frozen=True)
class Inputs:
    """Where each file lies; `None`: there is none. `trial_campaign` has the terms of the trial's coupons, where `campaign` lacks them."""

    campaign: str | None = None
    transactions: str | None = None
    products: str | None = None
    users: str | None = None
    trial: str | None = None
    trial_campaign: str | None = None
    sent: str | None = None
    offers: str | None = None

    @property
    def given(self) -> dict[str, str]:
        """The parts that are there."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: path for name, path in found.items() if path is not None}

    def or_else(self, other: Inputs) -> Inputs:
        """Return these, and for what is not here the other's."""
        return replace(other, **self.given)


def find_inputs(folder: str | Path) -> Inputs:
    """Find `campaign.toml`, `trial.toml` and the tables `transactions`, `products`, `users`, `trial`, `sent`, `offers` in a folder.

    Raises
    ------
    UsageError
        Where there is no such folder, it holds none of them, or one of them twice.
    """
    place = Path(folder)
    if place.is_file():
        raise UsageError(f"{folder} is a file; give the folder that it lies in, or say what it is, such as --offers")
    if not place.is_dir():
        raise UsageError(f"{folder}: there is no such folder; make one with `allocate init {shlex.quote(str(folder))}`")
    found: dict[str, str] = {}
    for name, file in FILES.items():
        if (place / file).is_file():
            found[name] = str(place / file)
    for name in (field.name for field in fields(Inputs) if field.name not in FILES):
        there = [place / f"{name}{ending}" for ending in ENDINGS if (place / f"{name}{ending}").exists()]
        if len(there) > 1:
            raise UsageError(
                f"{folder} has {' and '.join(item.name for item in there)}; keep one, or name it with --{name}"
            )
        if there:
            found[name] = str(there[0])
    if not found:
        names = ", ".join(field.name for field in fields(Inputs) if field.name not in FILES)
        raise UsageError(
            f"{folder} holds neither campaign.toml nor a table; put files named {names} there (.parquet or .csv), or "
            "name them with options such as --transactions"
        )
    return Inputs(**found)
