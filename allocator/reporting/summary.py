"""summary.json and manifest.json."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from allocator.problem import Problem
from allocator.result import LimitUse, Result
from allocator.tables.files import hash_inputs

SCHEMA_VERSION = 1


def summary(
    problem: Problem, result: Result, strategies: Sequence[Any], budget: float, currency: str, name: str
) -> dict[str, Any]:
    """Return the content of summary.json, without its times."""
    return {
        "schema_version": SCHEMA_VERSION,
        "status": str(result.status),
        "objective": _number(result.objective),
        "bound": _number(result.bound),
        "gap": _number(result.gap),
        "relative_gap": _number(result.relative_gap),
        "price_bound": _number(result.price_bound),
        "proof": str(result.proof),
        "spend": result.spend,
        "budget": budget,
        "users": problem.n_users,
        "offers": problem.offers.present,
        "issued": len(result.plan),
        "limits": [
            {
                "name": use.name,
                "measure": use.measure,
                "used": use.used,
                "at_least": use.at_least,
                "at_most": use.at_most,
                "price": use.price,
            }
            for use in result.limits
        ],
        "loosen_first": loosen_first(result.limits),
        "passes": round(result.passes, 3),
        "seconds": {},
        "strategies": [
            {
                "name": item.name,
                "objective": item.objective,
                "spend": item.spend,
                "issued": item.issued,
                "unmet": list(item.unmet),
            }
            for item in strategies
        ],
        "campaign": name,
        "currency": currency,
        "diagnosis": None
        if result.diagnosis is None
        else {"message": result.diagnosis.message, "limits": [item.name for item in result.diagnosis.conflicts]},
    }


def loosen_first(uses: Sequence[LimitUse]) -> dict[str, Any] | None:
    """Return the limit of which one per cent more (or less, where it is at-least) earns most, or `None`."""
    best: dict[str, Any] | None = None
    for use in uses:
        number = use.at_most if use.price > 0 else use.at_least
        if not use.price or number is None:
            continue
        change = abs(number) * 0.01
        if best is None or abs(use.price) * change > best["earns"]:
            best = {"name": use.name, "change": change, "measure": use.measure, "earns": abs(use.price) * change}
    return best


def manifest(files: Sequence[str], seed: int, command: Sequence[str]) -> dict[str, Any]:
    """Return the inputs' hashes, the versions, the seed and the command."""
    packages = ("coupon-allocator", "numpy", "numba", "scipy", "ortools", "pyarrow")
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # run from a checkout that is not installed
            versions[package] = "not installed"
    return {"inputs": hash_inputs(files), "versions": versions, "seed": seed, "command": ["allocate", *command]}


def text(document: dict[str, Any]) -> str:
    """Return strict JSON."""
    return json.dumps(document, indent=2, allow_nan=False)


def _number(number: float) -> float | None:
    return number if math.isfinite(number) else None
