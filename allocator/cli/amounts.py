"""Numbers as a planner types them."""

from __future__ import annotations

import re
from decimal import Decimal

import typer

from allocator.errors import UsageError

SCALES = {"": 1, "k": 1_000, "m": 1_000_000, "b": 1_000_000_000}
# Commas must stand where thousands end: `1,5` may mean one and a half, and guessing wrong costs money.
# 50.000 is fifty thousand to half of Europe and fifty to the rest.
_THOUSANDS = re.compile(r"-?[1-9]\d{0,2}\.\d{3}", re.ASCII)
_AMOUNT = re.compile(
    r"(-?(?:\d{1,3}(?:,\d{3})+|\d+(?:_\d+)*)(?:\.\d+)?(?:e[+-]?\d{1,2})?)([kmb]?)", re.IGNORECASE | re.ASCII
)


def parse_amount(text: str | float) -> float:
    """Read `50000`, `50_000`, `50,000`, `50k` or `1.5m` as a number; raises `typer.BadParameter` otherwise."""
    if _THOUSANDS.fullmatch(str(text).strip()):
        whole = str(text).strip()
        raise typer.BadParameter(
            f"{text!r} can mean {whole.replace('.', ',')} or {float(whole):g}; write {whole.replace('.', '')} or {float(whole):g}"
        )
    found = _AMOUNT.fullmatch(str(text).strip())
    if found is None:
        raise typer.BadParameter(f"{text!r} is not an amount; write 50000, 50_000, 50,000, 50k or 1.5m")
    number, scale = found.groups()
    # Decimal: 1.1k is 1100, not 1100.0000000000002.
    return float(Decimal(number.replace(",", "").replace("_", "")) * SCALES[scale.lower()])


def parse_share(text: str | float) -> float:
    """Read `5%`, `5 %` or `0.05` as a share; raises `typer.BadParameter` otherwise."""
    words = str(text).strip()
    found = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*(%?)", words, re.ASCII)
    if found is None:
        raise typer.BadParameter(f"{text!r} is not a share; write 5% or 0.05")
    number = float(Decimal(found[1]) / (100 if found[2] else 1))
    if number > 1:
        hint = f"; write {words}%" if not found[2] and number <= 100 else ""
        raise typer.BadParameter(f"{text!r} is more than all{hint}")
    return number


def whole_users(users: float) -> int:
    """Return the number of `--users`; raises `UsageError` unless it is whole."""
    if users != int(users):
        raise UsageError(f"--users is {users:g}; give a whole number such as 20k")
    return int(users)
