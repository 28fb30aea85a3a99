"""manifest.json: what a plan was made from, so that it can be made again."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from allocator.tables.files import hash_inputs

PACKAGES = ("coupon-allocator", "numpy", "numba", "scipy", "ortools", "pyarrow")


def manifest(files: Sequence[str], seed: int, command: Sequence[str]) -> dict[str, Any]:
    """Return the SHA-256 of each input file, the versions, the seed and the command.

    No time is in it, so that the same run gives the same bytes.

    Parameters
    ----------
    files
        The inputs as they were named; none for the built-in demo campaign.
    command
        The arguments of the command line.
    """
    return {
        "command": ["allocate", *command],
        "seed": seed,
        "inputs": hash_inputs(files),
        "versions": {"python": platform.python_version()} | {package: _version(package) for package in PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "not installed"
