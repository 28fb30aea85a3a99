"""manifest.json: what a plan was made from, so that it can be made again."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from allocator.tables.files import hash_inputs

PACKAGES = ("coupon-allocator", "numpy", "numba", "scipy", "ortools", "pyarrow")


def manifest(
    files: Sequence[str],
    seed: int,
    command: Sequence[str],
    source: Mapping[str, str | float | None],
    campaign: str | None,
) -> dict[str, Any]:
    """Return the SHA-256 of each input file, the versions, the seed and the command.

    No time is in it, so that the same run gives the same bytes.

    Parameters
    ----------
    files
        The inputs as they were named; none for the built-in demo campaign.
    command
        The arguments of the command line.
    source
        Which file plays which part (`offers`, `campaign`, `users`: as they were named; `None`: not given), and the
        `budget` of the plan.
    campaign
        The text of the campaign file, so that the folder can be understood without it; `None` where there is none.
    """
    return {
        "command": ["allocate", *command],
        "seed": seed,
        "source": dict(source),
        "campaign": campaign,
        "inputs": hash_inputs(files),
        "versions": {"python": platform.python_version()} | {package: _version(package) for package in PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "not installed"
