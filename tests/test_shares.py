"""Percentages are written in one way: `12.3 %`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from allocator.shares import percent, percent_of_digits, typed

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.123, "12.3 %"), (1.0, "100.0 %"), (-0.00001, "0.0 %"), (12.5, "1,250.0 %"), (float("nan"), "nan %")],
)
def test_a_share_is_a_number_a_space_and_a_sign(share: float, words: str) -> None:
    assert percent(share) == words


def test_decimals_are_those_asked_for_or_as_many_as_there_are() -> None:
    assert (percent(0.5338, 2), percent(0.5338, 0)) == ("53.38 %", "53 %")
    assert (percent(0.95, None), percent(0.975, None), percent(0.9999, None)) == ("95 %", "97.5 %", "99.99 %")
    assert (percent(0.05, sign=True), percent(-0.05, sign=True)) == ("+5.0 %", "-5.0 %")


def test_a_small_share_keeps_digits_that_count_and_a_hundred_is_no_power_of_ten() -> None:
    assert percent_of_digits(0.53384, 3) == "53.4 %"
    assert percent_of_digits(0.0057312, 3) == "0.573 %"
    assert percent_of_digits(1.0, 2) == "100 %"
    assert (percent_of_digits(0.5, 3), percent_of_digits(0.5, 3, zeros=True)) == ("50 %", "50.0 %")


def test_what_is_typed_means_no_less_than_the_share() -> None:
    assert (typed(0.0566), typed(0.05), typed(2 / 60_000), typed(100 / 600)) == ("5.66%", "5.00%", "0.0034%", "16.67%")


def test_nothing_else_formats_a_percentage() -> None:
    own = re.compile(r":[^}\"']*%\}|\} %|\}%")
    advice = "write {words}%"  # what a reader is to type has no space
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted((ROOT / "allocator").rglob("*.py"))
        if path.name != "shares.py"
        for line in path.read_text(encoding="utf-8").splitlines()
        if own.search(line) and advice not in line
    ]
    assert not found
