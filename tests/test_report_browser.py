"""The report in a real Chromium: every chart is drawn, nothing is complained of, and a keyboard and a screen reader can use it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from allocator import Limit, Problem, solve
from allocator.reporting.insight import Background, full_findings
from allocator.reporting.report import page
from allocator.reporting.summary import Summary, Terms, summarise
from allocator.solvers.strategies import compare
from tests.browser import DESK, PHONE, Browser, found, started

pytestmark = pytest.mark.skipif(found() is None, reason="no chromium on the path; install it to test the report's page")

EVIL = '<script>document.title="owned"</script><img src=x onerror=x()>'
ARABIC = "خصم ١٠٪ للعملاء الجدد"
LONG = "a-very-long-name-" * 20
VIEWS = {
    "light": {"size": DESK},
    "dark": {"size": DESK, "dark": True},
    "phone": {"size": PHONE},
    "phone, dark": {"size": PHONE, "dark": True},
    "print": {"size": DESK, "media": "print"},
}
N = 400
CURRENCY = "dinars of the realm"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with started(tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture(scope="module")
def summary() -> Summary:
    """400 users, three coupons with awkward names, two segments, an observational model."""
    rng = np.random.default_rng(3)
    coupons = [EVIL, ARABIC, LONG]
    cost = np.array([1.0, 2.0, 3.0]) * rng.uniform(0.5, 1.0, (N, 3))
    offers = pa.table(
        {
            "user_id": np.repeat(np.arange(N), 3),
            "coupon": coupons * N,
            "value": (cost * rng.uniform(-0.5, 4.0, (N, 3))).reshape(-1),
            "cost": cost.reshape(-1),
            "redeem_probability": np.full(3 * N, 0.3),
            "value_error": np.full(3 * N, 0.3),
        }
    )
    users = pa.table({"user_id": np.arange(N), "region <b>": ["north", EVIL] * (N // 2)})
    limits = [Limit("budget", "cost", at_most=250.0), Limit(EVIL, "count", at_least=20, users={"region <b>": EVIL})]
    problem = Problem.from_offers(offers, limits=limits, users=users)
    result = solve(problem)
    model = {"kind": EVIL, "observational": True, "metrics": [{"name": EVIL, "value": 0.1, "low": 0.0, "high": 0.2}]}
    findings = full_findings(problem, result, Background(offers, users, model=model), 250.0, None, 0)
    return summarise(
        problem,
        result,
        Terms(f"{EVIL} {ARABIC} {LONG}", CURRENCY, 250.0),
        certificate=None,
        strategies=compare(problem),
        seconds={"total": 1.0},
        findings=findings,
    )


Opened = Callable[[Summary], Browser]


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Opened:
    """Return a function that opens the page of a summary."""

    def open_page(summary: Summary, **view: object) -> Browser:
        path = tmp_path / "report.html"
        path.write_text(page(summary), encoding="utf-8")
        browser.look(**{"size": DESK, **view})  # type: ignore[arg-type]
        browser.open(path)
        return browser

    return open_page


@pytest.mark.parametrize("view", VIEWS)
def test_every_chart_is_drawn_and_nothing_is_complained_of(opened: Opened, summary: Summary, view: str) -> None:
    browser = opened(summary, **VIEWS[view])  # type: ignore[call-arg]
    assert browser.faults == []
    assert len(browser.requests) == 1  # the page itself
    charts = browser.value("document.querySelectorAll('.plot').length")
    assert charts == 2
    assert browser.value("document.documentElement.dataset.charts") == str(charts)
    drawn = browser.value(
        "JSON.stringify([...document.querySelectorAll('svg.chart')].filter(p => p.getBoundingClientRect().height > 100)"
        ".map(p => [p.querySelector('path.line').getTotalLength() > 100,"
        " [...p.querySelectorAll('text')].every(t => { const a = t.getBoundingClientRect(), b = p.getBoundingClientRect();"
        " return a.left >= b.left - 1 && a.right <= b.right + 1 && a.top >= b.top - 1 && a.bottom <= b.bottom + 1; })]))"
    )
    assert json.loads(drawn) == [[True, True]] * charts  # one size of each; lines are there, no text is cut off


@pytest.mark.parametrize("view", ["light", "phone"])
def test_the_page_never_scrolls_sideways(opened: Opened, summary: Summary, view: str) -> None:
    browser = opened(summary, **VIEWS[view])  # type: ignore[call-arg]
    assert browser.value("document.documentElement.scrollWidth <= window.innerWidth")


def test_hostile_names_are_words(opened: Opened, summary: Summary) -> None:
    browser = opened(summary)
    assert browser.value("document.title") != "owned"
    assert browser.value("document.querySelectorAll('script').length") == 1
    assert browser.value("document.querySelectorAll('img').length") == 0
    assert EVIL in browser.value("document.body.innerText")
    assert ARABIC in browser.value("document.body.innerText")


def test_the_policy_of_the_page_stops_any_other_script(opened: Opened, summary: Summary) -> None:
    browser = opened(summary)
    browser.value(
        "(() => { const s = document.createElement('script'); s.textContent = 'window.owned = 1'; document.body.append(s); })()"
    )
    assert browser.value("window.owned === undefined")
    assert any("Content Security Policy" in fault for fault in browser.faults)


def test_the_slider_walks_along_the_curve_by_keyboard(opened: Opened, summary: Summary) -> None:
    browser = opened(summary)
    says = "document.querySelector('#budget output').textContent"
    assert "this plan" in browser.value(says)
    browser.value("document.querySelector('#budget-at').focus()")
    before = browser.value("document.querySelector('#budget .cursor line').getAttribute('x1')")
    browser.press("ArrowRight")
    assert f"275 {CURRENCY}" in browser.value(says)  # 1.1 of the budget
    assert browser.value("document.querySelector('#budget-at').getAttribute('aria-valuetext')") == browser.value(says)
    assert float(browser.value("document.querySelector('#budget .cursor line').getAttribute('x1')")) > float(before)


def test_a_table_is_sorted_by_keyboard(opened: Opened, summary: Summary) -> None:
    browser = opened(summary)
    browser.value("document.querySelector('#strategies thead th:nth-child(5) button').focus()")
    browser.press("Enter")
    spends = "[...document.querySelectorAll('#strategies tbody tr')].map(r => Number(r.cells[4].dataset.v))"
    numbers = browser.value(spends)
    assert numbers == sorted(numbers, reverse=True)
    assert (
        browser.value("document.querySelector('#strategies thead th:nth-child(5)').getAttribute('aria-sort')")
        == "descending"
    )
    browser.press("Enter")
    assert browser.value(spends) == sorted(numbers)


def test_a_screen_reader_is_told_what_each_chart_shows(opened: Opened, summary: Summary) -> None:
    nodes = opened(summary).accessible()
    told = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes]
    pictures = [name for role, name in told if role in ("img", "image")]
    assert len(pictures) == 2
    assert all(name.startswith("Line chart of") for name in pictures)
    sliders = [node for node in nodes if node["role"]["value"] == "slider"]
    assert [node["name"]["value"] for node in sliders] == ["Try a budget", "Number of users"]
    assert all(name for role, name in told if role in ("slider", "button", "table", "region", "navigation"))
    headings = [name for role, name in told if role == "heading"]
    assert "What would another budget earn?" in headings


def test_every_chart_has_its_numbers_as_a_table(opened: Opened, summary: Summary) -> None:
    browser = opened(summary)
    rows = browser.value(
        "[...document.querySelectorAll('.plot')].map(p => p.querySelectorAll('details tbody tr').length)"
    )
    steps = browser.value("[...document.querySelectorAll('.plot')].map(p => JSON.parse(p.dataset.steps).length)")
    assert rows == steps


@pytest.mark.parametrize("dark", [False, True])
def test_words_stand_out_from_what_is_behind_them(opened: Opened, summary: Summary, dark: bool) -> None:
    """Every colour of text has a contrast of at least 4.5 to each background (WCAG 2.2, 1.4.3)."""
    browser = opened(summary, dark=dark)  # type: ignore[call-arg]
    colours = browser.value(
        "Object.fromEntries(['ink','soft','accent','good','warn','paper','card','tint','warn-card'].map(n => {"
        " const e = document.createElement('i'); e.style.color = `var(--${n})`; document.body.append(e);"
        " const c = getComputedStyle(e).color.match(/\\d+/g).slice(0, 3).map(Number); e.remove(); return [n, c]; }))"
    )
    for text in ("ink", "soft"):
        for back in ("paper", "card", "tint", "warn-card"):
            assert contrast(colours[text], colours[back]) >= 4.5, (text, back)
    for text in ("accent", "good", "warn"):
        assert contrast(colours[text], colours["paper"]) >= 4.5, text


def contrast(one: list[int], two: list[int]) -> float:
    shares = np.array([one, two]) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    low, high = sorted(linear @ [0.2126, 0.7152, 0.0722])
    return float((high + 0.05) / (low + 0.05))


def test_thousands_of_coupons_and_hundreds_of_limits_stay_readable(opened: Opened, summary: Summary) -> None:
    many = dataclasses.replace(
        summary,
        coupons=tuple(dataclasses.replace(summary.coupons[0], name=f"c{k}", issued=10 + k) for k in range(5_000)),
        limits=tuple(dataclasses.replace(summary.limits[0], name=f"l{r}") for r in range(500)),
    )
    assert len(page(many)) < 500_000
    browser = opened(many)
    visible = "[...document.querySelectorAll('#coupons tbody tr')].filter(r => r.getClientRects().length).length"
    assert browser.value(visible) == 25
    browser.value("document.querySelector('#coupons button.more').click()")
    assert browser.value(visible) == 200
    assert "4,800 other coupons" in browser.value("document.querySelector('#coupons tfoot').innerText")
    assert "200 of 500 limits" in browser.value("document.querySelector('#limits').innerText")
    assert browser.faults == []


def test_pages_without_a_plan_or_without_offers_are_sound(opened: Opened, summary: Summary) -> None:
    problem = Problem.from_arrays(np.full((20, 2), -1.0), np.ones((20, 2)), budget=5.0)
    empty = solve(problem)
    infeasible = Problem.from_arrays(np.ones((20, 2)), np.ones((20, 2)), budget=5.0, min_quantities=[9, None])
    for case, result in ((problem, empty), (infeasible, solve(infeasible))):
        made = summarise(
            case, result, Terms("none", "EUR", 5.0), certificate=None, strategies=(), seconds={"total": 0.1}
        )
        browser = opened(made)
        assert browser.faults == []
        words = browser.value("document.body.innerText")
        assert "nan" not in words.lower()
        assert ("Limits that conflict" in words) == (not made.has_plan)


def test_it_prints_on_a_few_pages(opened: Opened, summary: Summary) -> None:
    pdf = opened(summary).pdf()
    assert pdf.startswith(b"%PDF")
    assert pdf.count(b"/Type /Page\n") <= 8
