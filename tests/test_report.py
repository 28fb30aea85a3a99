"""The report: what it says, what it keeps to itself, and that a folder alone is enough to make it again."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
import sys
from contextlib import nullcontext
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from allocator import Limit, Problem, solve
from allocator.cli import exits, main
from allocator.errors import DataError
from allocator.reporting import insight, words
from allocator.reporting.disclosure import FEW, suppressed
from allocator.reporting.findings import Findings
from allocator.reporting.insight import Background, full_findings, interval, partition, quick_findings
from allocator.reporting.reading import summary_of
from allocator.reporting.report import page
from allocator.reporting.summary import Summary, Terms, summarise, to_json

TIMES = {"read": 0.1, "prices": 0.2, "integer": 0.3, "write": 0.0, "total": 0.7}
N = 120


@dataclasses.dataclass(eq=False)
class Case:
    """A problem of 120 users by three coupons, its tables and its result."""

    problem: Problem
    offers: pa.Table
    users: pa.Table
    result: Any

    @cached_property
    def plainly(self) -> Summary:
        return self.summary()

    def summary(self, *, traced: bool = False, **changes: Any) -> Summary:
        background = Background(self.offers, self.users, **changes)
        # Other budgets take longest; few tests are about them.
        with nullcontext() if traced else mock.patch.object(insight, "trace", lambda *_: ((), "")):
            findings = full_findings(self.problem, self.result, background, 120.0, None, 0)
        terms = Terms("spring", "EUR", 120.0)
        return summarise(
            self.problem, self.result, terms, certificate=None, strategies=(), seconds=TIMES, findings=findings
        )


def case(region: list[str], limits: list[Limit], extra: dict[str, np.ndarray] | None = None) -> Case:
    rng = np.random.default_rng(5)
    cost = np.repeat([[1.0, 2.0, 3.0]], N, axis=0) * rng.uniform(0.5, 1.0, (N, 3))
    offers = {
        "user_id": np.repeat(np.arange(1000, 1000 + N), 3),
        "coupon": np.tile(["a", "b", "c"], N),
        "value": (cost * rng.uniform(0.5, 4.0, (N, 3))).reshape(-1),
        "cost": cost.reshape(-1),
        "redeem_probability": np.full(3 * N, 0.3),
        **(extra or {}),
    }
    users = pa.table({"user_id": np.arange(1000, 1000 + N), "region": region, "age": np.arange(N)})
    table = pa.table(offers)
    problem = Problem.from_offers(table, limits=[Limit("budget", "cost", at_most=120.0), *limits], users=users)
    return Case(problem, table, users, solve(problem))


@pytest.fixture(scope="module")
def plain() -> Case:
    return case(["north"] * 60 + ["south"] * 60, [Limit("north", "count", at_least=5, users={"region": "north"})])


class Text(HTMLParser):
    """The words of a page, tables row by row."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words, self._skip = "", False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._skip = tag in ("script", "style")
        self.words += "\n" if tag == "tr" else " "

    def handle_data(self, data: str) -> None:
        self.words += "" if self._skip else data

    def row(self, name: str) -> str:
        return next(line for line in self.words.split("\n") if line.strip().startswith(name))


# What may be spent


def test_without_chances_of_redemption_the_page_says_that_the_spend_is_not_known(plain: Case) -> None:
    blind = dataclasses.replace(plain.plainly, risk=None)
    assert "neither redeem_probability nor liability" in Text(page(blind)).words


# Intervals


def test_no_standard_error_no_interval(plain: Case) -> None:
    assert interval(plain.result, plain.offers) == (None, "the offers carry no standard error")
    assert "no interval: the offers carry no standard error" in Text(page(plain.plainly)).words


def test_standard_errors_give_two_intervals_one_for_errors_that_are_shared() -> None:
    made = case(["x"] * N, [], {"value_error": np.full(3 * N, 0.5)})
    found, _ = interval(made.result, made.offers)
    n = len(made.result.plan)
    assert found is not None
    assert found.high - made.result.objective == pytest.approx(1.96 * 0.5 * math.sqrt(n), rel=1e-3)
    assert found.shared_high - made.result.objective == pytest.approx(1.96 * 0.5 * n, rel=1e-3)


def test_draws_give_an_interval_of_the_plans_value() -> None:
    rng = np.random.default_rng(2)
    shift = rng.normal(0.0, 0.2, 40)  # the same for all offers: errors that do not average out
    made = case(["x"] * N, [], {})
    draws = {f"value_draw_{k}": made.offers["value"].to_numpy() + shift[k] for k in range(40)}
    offers = pa.table({**{name: made.offers[name] for name in made.offers.column_names}, **draws})
    found, _ = interval(made.result, offers)
    half = 2.0227 * shift.std(ddof=1) * len(made.result.plan)  # t with 39 degrees of freedom
    assert found is not None
    assert (found.source, found.draws) == ("value_draw", 40)
    assert found.high - made.result.objective == pytest.approx(half, rel=1e-3)


@pytest.mark.parametrize("bad", [np.nan, -1.0, "much"])
def test_unusable_standard_errors_are_no_standard_errors(bad: float | str) -> None:
    made = case(["x"] * N, [], {"value_error": np.full(3 * N, bad)})
    found, why = interval(made.result, made.offers)
    assert found is None
    assert "value_error" in why


def test_few_draws_give_no_interval() -> None:
    made = case(["x"] * N, [], {f"value_draw_{k}": np.ones(3 * N) for k in range(3)})
    assert interval(made.result, made.offers) == (None, "3 draws are too few; 5 are needed")


# Other budgets, targeting, segments


def test_the_frontier_has_the_plan_itself_in_its_place(plain: Case) -> None:
    rows = plain.summary(traced=True).findings.frontier
    assert [row.budget for row in rows] == sorted(row.budget for row in rows)
    assert len(rows) == 7
    own = next(row for row in rows if row.budget == 120.0)
    assert own.objective == plain.result.objective
    assert all(one.objective <= two.objective + 1e-9 for one, two in itertools.pairwise(rows))


def test_a_plan_that_took_all_its_time_has_no_frontier(plain: Case) -> None:
    stopped = dataclasses.replace(plain, result=dataclasses.replace(plain.result, status="feasible"))
    found = stopped.summary(traced=True).findings
    assert len(found.frontier) == 1
    assert "allocate frontier" in found.frontier_note


def test_the_curve_of_uplift_rises_fastest_first_and_ends_where_random_ends(plain: Case) -> None:
    curve = plain.plainly.findings.uplift_curve
    assert curve is not None
    assert curve.users[0] == 0
    assert curve.users[-1] == N
    assert min(np.diff(curve.users)) >= FEW
    each = np.diff(curve.value) / np.diff(curve.cost)
    assert (np.diff(each) <= 1e-9).all()
    best = plain.problem.offers.value.reshape(N, 3).max(axis=1)
    assert curve.value[-1] == pytest.approx(best.sum())


def test_segments_add_up_to_the_plan(plain: Case) -> None:
    (segments,) = plain.plainly.findings.segments
    assert segments.attribute == "region"  # age has too many values
    assert sum(row.users for row in segments.rows) == N
    assert sum(row.issued for row in segments.rows) == len(plain.result.plan)
    assert math.fsum(row.value for row in segments.rows) == pytest.approx(plain.result.objective)


def test_an_attribute_of_many_values_that_a_limit_names_is_shown_by_its_largest() -> None:
    region = [f"r{k % 30}" if k % 2 else "main" for k in range(N)]
    made = case(region, [Limit("main", "count", at_least=5, users={"region": "main"})])
    (part,) = partition(made.problem, made.result, made.users)
    assert len(part.names) == 16  # main and fifteen odd ones
    many = case([f"r{k % 40}" for k in range(N)], [Limit("r1", "count", at_least=1, users={"region": "r1"})])
    (part,) = partition(many.problem, many.result, many.users)
    assert part.names[-1] == "(all others)"
    assert len(part.names) == 20
    assert np.bincount(part.code).sum() == N


# Few users


def shown_numbers(summary: Summary) -> str:
    return Text(page(summary)).words


def test_a_segment_of_few_users_and_the_next_smallest_stand_together() -> None:
    """Were only the segment of 4 hidden, the total less the others would tell it."""
    summary = case(["tiny"] * 4 + ["small"] * 30 + ["large"] * 86, []).summary()
    assert summary.findings.suppressed.segments == {"region": ("tiny", "small")}
    text = Text(page(summary))
    assert text.row("2 other segments")
    assert "tiny" not in text.words
    assert text.row("large")


def test_a_coupon_of_few_users_is_not_shown_by_itself() -> None:
    made = case(["x"] * N, [Limit("quantity[c]", "count", at_most=3, coupons=["c"])])
    issued = np.bincount(made.result.plan.coupon, minlength=3)
    assert 0 < issued[2] <= 3
    summary = made.summary()
    assert set(summary.findings.suppressed.coupons) > {"c"}
    assert "few users" in Text(page(summary)).row("quantity[c]")
    assert "2 other coupons" in Text(page(summary)).words


def test_limits_that_would_give_a_segment_away_are_not_shown() -> None:
    """Two regions as a limit, one of them as a segment: the difference is the other, of few users."""
    limits = [Limit("both", "cost", at_most=1e6, users={"region": ["tiny", "large"]})]
    summary = case(["tiny"] * 4 + ["small"] * 30 + ["large"] * 86, limits).summary()
    assert "both" in summary.findings.suppressed.limits or "large" in summary.findings.suppressed.segments["region"]


def test_nothing_hidden_can_be_worked_out_of_random_plans() -> None:
    """Every hidden cell lies outside the span of what is shown, for attributes and limits that nest and cross."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        region = rng.choice(["a", "b", "c", "d"], N, p=[0.05, 0.1, 0.35, 0.5])
        made = case(
            list(region),
            [
                Limit("l1", "cost", at_most=1e6, users={"region": ["a", "c"]}),
                Limit("l2", "count", at_most=1e6, users={"region": ["b", "d"]}, coupons=["a"]),
            ],
        )
        hidden = suppressed(made.problem, made.result, partition(made.problem, made.result, made.users))
        plan = made.result.plan
        code, coupon = region[plan.user], np.array(["a", "b", "c"])[plan.coupon]
        shown = [np.ones(len(plan))]
        shown += [code == name for name in "abcd" if name not in hidden.segments.get("region", ())]
        shown += [coupon == name for name in "abc" if name not in hidden.coupons]
        shown += [np.isin(code, ["a", "c"])] if "l1" not in hidden.limits else []
        shown += [np.isin(code, ["b", "d"]) & (coupon == "a")] if "l2" not in hidden.limits else []
        matrix = np.array(shown, float)
        rank = np.linalg.matrix_rank(matrix)
        for cell in [*(code == name for name in "abcd"), *(coupon == name for name in "abc")]:
            if 0 < cell.sum() < FEW:
                assert np.linalg.matrix_rank(np.vstack([matrix, cell])) == rank + 1, seed


def test_user_ids_never_appear(plain: Case) -> None:
    html = page(plain.plainly)
    digits = set(re.findall(r"(?<![\d.,])1[01]\d\d(?![\d.,])", Text(html).words))
    assert not digits & {str(user) for user in range(1000, 1000 + N)}


def test_a_plan_for_fewer_than_ten_users_says_not_to_pass_it_on(plain: Case) -> None:
    assert "do not pass it on" in Text(page(dataclasses.replace(plain.plainly, issued=7))).words
    assert "do not pass it on" not in Text(page(plain.plainly)).words


# The model, the assumptions


def test_an_observational_model_is_warned_of_twice_and_its_measures_are_shown(plain: Case) -> None:
    model = {
        "kind": "response model",
        "observational": True,
        "metrics": [{"name": "Qini", "value": 0.123, "low": 0.1, "high": 0.15, "meaning": "against random"}],
        "calibration": [
            {"predicted": 0.2, "observed": 0.21, "users": 500},
            {"predicted": 0.9, "observed": 0.1, "users": 3},
        ],
        "notes": ["<i>trained on 2025</i>"],
    }
    text = Text(page(plain.summary(model=model))).words
    assert text.lower().count("observational") == 2
    assert "0.1 to 0.15" in text
    assert "<i>trained on 2025</i>" in text
    assert "0.9000" not in text  # of three users


def test_assumptions_tell_what_is_given_and_what_is_default(plain: Case) -> None:
    from allocator.campaign.reading import parse_campaign

    campaign = parse_campaign("[campaign]\nmax_per_user = 1\n")
    found = {
        item.name: item
        for item in quick_findings(plain.problem, plain.result, Background(plain.offers, None, campaign)).assumptions
    }
    assert found["max_per_user"].given
    assert not found["exclusive"].given
    assert found["redeem_probability"].value == "a column of the offers"


# From the folder alone


def test_a_summary_comes_back_from_json_as_it_was(plain: Case) -> None:
    summary = plain.summary(model={"kind": "x", "metrics": []})
    again = summary_of(json.loads(to_json(summary.document())))
    assert again == summary
    assert page(again) == page(summary)


def test_a_summary_of_the_first_version_makes_a_report_too(plain: Case) -> None:
    document = plain.plainly.document()
    for key in ("frontier", "risk", "segments", "uplift_curve", "suppressed", "assumptions", "model"):
        del document[key]
    assert "Offers by coupon" in page(summary_of(document))


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("issued", "many", "issued is 'many'"),
        ("limits", {}, "limits is {}"),
        ("limits", [{"name": "x"}], "measure is missing"),
    ],
)
def test_a_summary_that_does_not_fit_is_refused_by_its_key(plain: Case, key: str, value: Any, says: str) -> None:
    with pytest.raises(DataError, match=re.escape(says)):
        summary_of({**plain.plainly.document(), key: value})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    offers = tmp_path / "offers.csv"
    rows = [(user, name, 2.0 + user % 7, cost) for user in range(40) for name, cost in (("a", 1.0), ("b", 2.0))]
    pd.DataFrame(rows, columns=["user_id", "coupon", "value", "cost"]).to_csv(offers, index=False)
    assert run(monkeypatch, "--budget", "30", "--offers", offers, "-o", tmp_path / "plan", "-q") == 0
    capsys.readouterr()
    return tmp_path / "plan"


def run(monkeypatch: pytest.MonkeyPatch, *words_: object) -> Any:
    monkeypatch.setattr(exits, "catch_termination", lambda: None)
    monkeypatch.setattr(sys, "argv", ["allocate", *map(str, words_)])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code


def test_the_command_makes_the_same_bytes_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folder / "report.html").read_bytes()
    (folder / "report.html").unlink()
    assert run(monkeypatch, "report", folder) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    assert (folder / "report.html").read_bytes() == before


def test_another_file_is_replaced_only_by_force(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "mine.html"
    target.write_text("mine")
    assert run(monkeypatch, "report", folder, "-o", target) == 2
    assert "--force" in capsys.readouterr().err
    assert target.read_text() == "mine"
    assert run(monkeypatch, "report", folder, "-o", target, "--force") == 0
    assert target.read_text().startswith("<!doctype html>")


def test_what_is_no_plan_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "report", tmp_path) == 2
    assert "not a plan folder" in capsys.readouterr().err


def test_open_shows_the_page_or_says_where_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import webbrowser

    shown: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: bool(shown.append(address)) or len(shown) < 2)
    assert run(monkeypatch, "report", folder, "--open") == 0
    assert shown == [(folder / "report.html").resolve().as_uri()]
    assert capsys.readouterr().err == ""
    assert run(monkeypatch, "report", folder, "--open") == 0
    assert "No browser was found" in capsys.readouterr().err


def test_words_of_an_interval_name_its_source(plain: Case) -> None:
    summary = plain.plainly
    assert words.interval(summary) == "no interval: the offers carry no standard error"


def test_findings_take_no_name_of_the_summary_itself() -> None:
    """In summary.json both stand side by side."""
    own, more = ({field.name for field in dataclasses.fields(kind)} for kind in (Summary, Findings))
    assert not own & more
