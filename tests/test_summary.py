"""What a run says about itself: summary.json, the sentences, the report."""

from __future__ import annotations

import dataclasses
import json
import math
from html.parser import HTMLParser

import numpy as np
import pytest

from allocator import Limit, Problem, solve, verify
from allocator.reporting import words
from allocator.reporting.report import page
from allocator.reporting.summary import Summary, Terms, loosen_first, summarise, to_json
from allocator.result import Conflict, Diagnosis, LimitUse
from allocator.solvers.strategies import compare

# The contract's keys, in its order.
KEYS = [
    "schema_version",
    "status",
    "objective",
    "bound",
    "gap",
    "relative_gap",
    "spend",
    "budget",
    "users",
    "offers",
    "issued",
    "limits",
    "passes",
    "seconds",
    "strategies",
]
TIMES = {"read": 0.1, "prices": 0.2, "integer": 0.3, "write": 0.0, "total": 0.7}


@pytest.fixture
def summary() -> Summary:
    """Four users, two coupons with awkward names, a budget that binds."""
    value = np.array([[3.0, 5.0], [2.0, 6.0], [4.0, 4.5], [1.0, np.nan]])
    cost = np.array([[1.0, 3.0], [1.0, 3.0], [1.0, 3.0], [1.0, 3.0]])
    problem = Problem.from_arrays(
        value,
        cost,
        budget=6.0,
        coupons=["<b>3off</b>", "10 % & more"],
        limits=[Limit("roi [all]", {"value": 1.0, "cost": -0.5}, at_least=0.0)],
    )
    result = solve(problem)
    return summarise(
        problem,
        result,
        Terms("spring <script>", "EUR", 6.0),
        certificate=verify(problem, result),
        strategies=compare(problem),
        seconds=TIMES,
    )


def use(
    name: str, price: float, *, measure: str = "cost", at_least: float | None = None, at_most: float | None = None
) -> LimitUse:
    """Return the use of a limit; only its number and its price matter here."""
    return LimitUse(name, measure, 0.0, at_least, at_most, price)


def test_the_contracts_keys_come_first_and_in_order(summary: Summary) -> None:
    document = json.loads(to_json(summary.document()))
    assert list(document)[: len(KEYS)] == KEYS
    assert set(document["seconds"]) >= {"read", "prices", "integer", "write", "total"}
    for limit in document["limits"]:
        assert list(limit) == ["name", "measure", "used", "at_least", "at_most", "price"]
    assert all({"name", "objective", "spend"} <= set(row) for row in document["strategies"])
    assert document["verified"] is True
    assert document["offers"] == 7


def test_what_is_issued_by_coupon_adds_up_to_the_plan(summary: Summary) -> None:
    assert sum(coupon.issued for coupon in summary.coupons) == summary.issued
    assert math.fsum(coupon.value for coupon in summary.coupons) == pytest.approx(summary.objective)
    assert math.fsum(coupon.cost for coupon in summary.coupons) == pytest.approx(summary.spend)


def test_json_is_strict_without_a_plan(summary: Summary) -> None:
    nothing = dataclasses.replace(summary, status="infeasible", objective=math.nan, bound=-math.inf, gap=math.nan)
    document = json.loads(to_json(nothing.document()), parse_constant=pytest.fail)
    assert document["objective"] is None
    assert document["bound"] is None


def test_loosen_first_weighs_prices_by_what_one_per_cent_is() -> None:
    """A high price on a small limit may earn less than a low price on a large one."""
    budget, dear = use("budget", 1.5, at_most=50_000.0), use("liability", 20.0, at_most=1_000.0)
    chosen = loosen_first([dear, budget])
    assert chosen is not None
    assert (chosen.name, chosen.side, chosen.step, chosen.earns) == ("budget", "at_most", 500.0, 750.0)


def test_loosen_first_lowers_an_at_least_limit() -> None:
    chosen = loosen_first([use("new users", -0.5, measure="count", at_least=2_000.0)])
    assert chosen is not None
    assert (chosen.side, chosen.step, chosen.earns) == ("at_least", 20.0, 10.0)


def test_loosen_first_steps_by_whole_offers() -> None:
    chosen = loosen_first([use("quantity[a]", 4.0, measure="count", at_most=30.0)])
    assert chosen is not None
    assert (chosen.step, chosen.earns) == (1.0, 4.0)


def test_nothing_to_loosen_where_nothing_binds() -> None:
    assert loosen_first([use("budget", 0.0, at_most=50.0), use("roi", -0.3, at_least=0.0)]) is None


def test_sentences_name_the_step_and_its_worth(summary: Summary) -> None:
    step = loosen_first([use("quantity[10off]", 13.7, measure="count", at_most=3_000.0)])
    text = words.loosen(dataclasses.replace(summary, loosen_first=step))
    assert text == "Loosen `quantity[10off]` first: 30 offers more (1 %) would earn about 411.00 EUR."
    step = loosen_first([use("new users", -2.0, measure="count", at_least=500.0)])
    text = words.loosen(dataclasses.replace(summary, loosen_first=step))
    assert text == "Loosen `new users` first: 5 offers less required (1 %) would earn about 10.00 EUR."


def test_a_proof_by_branch_and_bound_says_so(summary: Summary) -> None:
    searched = dataclasses.replace(summary, status="optimal", proof="branch_and_bound", price_bound=99.0)
    assert "branch and bound" in words.proof(searched)
    assert "99.00 EUR" in words.proof(searched)
    assert "branch and bound" not in words.proof(dataclasses.replace(searched, proof="prices"))


@pytest.fixture
def nothing(summary: Summary) -> Summary:
    """Two conflicts and no plan."""
    budget = Conflict("budget", "cost", "at_most", 50_000.0, 58_200.0, None, 0.0)
    least = Conflict("<b>min</b>", "count", "at_least", 12_000.0, 10_310.0, None, 0.0)
    further = Diagnosis((least,), "only 9 of <b>min</b> exist")
    diagnosis = Diagnosis((budget, least), "the budget is too small", further=(further,))
    return dataclasses.replace(summary, status="infeasible", proof="farkas", objective=math.nan, diagnosis=diagnosis)


def test_an_infeasible_problem_is_explained_conflict_by_conflict(nothing: Summary) -> None:
    lines = words.no_plan(nothing)
    assert lines[:2] == ["Infeasible: the budget is too small", "Another conflict: only 9 of <b>min</b> exist"]
    assert "An independent check agrees." in lines[2]
    assert words.no_plan(dataclasses.replace(nothing, proof="branch_and_bound"))[2] == "Proven by branch and bound."


class Tags(HTMLParser):
    """Checks that tags are closed in order, and collects them."""

    VOID = frozenset({"meta", "rect", "line", "circle", "path", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data.replace("\u00a0", " ")


def test_the_report_is_one_sound_page_without_network(summary: Summary) -> None:
    html = page(summary)
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    assert tags.seen.count("script") == 1  # our own; the policy of the page allows no other
    assert not {"link", "img", "iframe", "b"} & set(tags.seen)
    assert "http:" not in html
    assert "https:" not in html
    assert "url(" not in html
    assert len(html) < 50_000


def test_the_report_says_what_a_planner_asks(summary: Summary) -> None:
    tags = Tags()
    tags.feed(page(summary))
    for text in ("spring <script>", "<b>3off</b>", "10 % & more", "roi [all]", "Proven optimal", "greedy", "Limits"):
        assert text in tags.text
    assert words.loosen(summary).replace("`", "") in tags.text


def test_the_report_says_why_there_is_no_plan(nothing: Summary) -> None:
    tags = Tags()
    tags.feed(page(nothing))
    assert tags.open == []
    for text in (
        "Infeasible",
        "the budget is too small",
        "only 9 of <b>min</b> exist",
        "58,200.00",
        "10,310",
        "at most",
    ):
        assert text in tags.text
    assert "nan" not in tags.text


def test_the_report_stays_small_with_thousands_of_coupons(summary: Summary) -> None:
    many = dataclasses.replace(
        summary,
        coupons=tuple(dataclasses.replace(summary.coupons[0], name=f"c{k}", issued=1) for k in range(5_000)),
        limits=tuple(dataclasses.replace(summary.limits[0], name=f"l{r}") for r in range(5_000)),
    )
    html = page(many)
    assert len(html) < 300_000
    assert "of 5,000 limits" in html
