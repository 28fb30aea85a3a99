"""Runs of a plan have the distribution that its numbers imply."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from scipy import stats

from allocator.errors import DataError, UsageError
from allocator.reporting import simulated
from allocator.simulation import Issued, Simulation, estimates, issued_of, simulate
from allocator.simulation.simulating import day_shares
from allocator.simulation.stock import read_coupon_stock
from allocator.tables.plan_folder import PlanFolder
from tests.conftest import Allocate


def offers(n: int = 400, coupons: int = 3, seed: int = 0) -> Issued:
    rng = np.random.default_rng(seed)
    chance = rng.uniform(0.02, 0.5, n)
    return Issued(
        luck=rng.integers(0, 2**63, n).astype(np.uint64),
        coupon=rng.integers(0, coupons, n).astype(np.int32),
        redeem_probability=chance,
        paid=rng.choice([2.0, 5.0, 10.0], n),
        contact=np.full(n, 0.1),
        moved=np.minimum(1.0, chance + 0.1),
        gain=rng.normal(4.0, 3.0, n),
        coupon_ids=tuple(f"c{k}" for k in range(coupons)),
        valid_days=np.array([28, 14, 7][:coupons]),
    )


def plan(tmp_path: Path, campaign: str | None = None, **columns: object) -> PlanFolder:
    base: dict[str, object] = {
        "user_id": [1, 2, 3],
        "coupon": ["a", "b", "a"],
        "value": [3.0, 2.0, 1.0],
        "cost": [1.0, 0.6, 0.5],
    }
    return PlanFolder(tmp_path, pa.table(base | columns), {"budget": 2.0}, {"campaign": campaign})


def test_without_a_shock_redemptions_of_like_offers_are_binomial() -> None:
    issued = replace(offers(), redeem_probability=np.full(400, 0.2), coupon=np.zeros(400, np.int32))
    found = simulate(issued, runs=4_000, seed=1, redemption_shock=0.0)
    expected = stats.binom(400, 0.2)
    counts = np.bincount(found.redeemed[:, 0], minlength=401)
    edges = expected.ppf([0.1, 0.25, 0.5, 0.75, 0.9]).astype(int)
    seen = np.diff([0, *np.cumsum(counts)[edges], 4_000])
    chances = np.diff([0.0, *expected.cdf(edges), 1.0])
    assert stats.chisquare(seen, chances * 4_000).pvalue > 1e-4


def test_the_mean_and_variance_of_spend_follow_the_common_shock() -> None:
    issued, cv = offers(n=3_000), 0.2
    issued = replace(issued, redeem_probability=issued.redeem_probability * 0.4)  # never clipped
    found = simulate(issued, runs=4_000, seed=2, redemption_shock=cv)
    p, paid = issued.redeem_probability, issued.paid
    mean = (p * paid).sum()
    # Given S: variance sum p S (1 - p S) paid^2; then the variance of the mean itself.
    variance = (p * paid**2).sum() - (p**2 * paid**2).sum() * (1 + cv**2) + (cv * mean) ** 2
    error = np.sqrt(variance / 4_000)
    assert abs(found.spend.mean() - issued.contact.sum() - mean) < 4 * error
    assert abs(found.spend.std() / np.sqrt(variance) - 1) < 0.08
    assert abs(found.shock.std() - cv) < 0.02


def test_net_revenue_has_the_mean_that_the_plan_promises() -> None:
    issued = offers()
    found = simulate(issued, runs=4_000, seed=3, redemption_shock=0.0)
    promised = (issued.moved * issued.gain).sum() - issued.expected_spend
    assert abs(found.net.mean() - promised) < 4 * found.net.std() / np.sqrt(4_000)


def test_chances_are_clipped_at_1_and_sure_things_always_happen() -> None:
    issued = replace(offers(), redeem_probability=np.where(np.arange(400) < 100, 1.0, 0.0))
    found = simulate(issued, runs=50, seed=0, redemption_shock=0.0)
    assert np.all(found.redeemed.sum(axis=1) == 100)
    assert found.spend.max() <= issued.worst_spend + 1e-9


def test_the_same_seed_gives_the_same_runs_whatever_the_threads() -> None:
    one, two = (simulate(offers(), runs=40, seed=9, redemption_shock=0.3, threads=t) for t in (1, 2))
    np.testing.assert_array_equal(one.spend, two.spend)
    np.testing.assert_array_equal(one.net, two.net)
    assert not np.array_equal(one.spend, simulate(offers(), runs=40, seed=10, redemption_shock=0.3).spend)


def test_plans_that_share_offers_share_their_luck(tmp_path: Path) -> None:
    chance = {"redeem_probability": [0.5, 0.5, 0.5], "liability": [1.0, 1.0, 1.0]}
    whole = issued_of(plan(tmp_path, **chance))
    part = issued_of(PlanFolder(tmp_path, plan(tmp_path, **chance).plan.slice(0, 1), {}, {}))
    a, b = simulate(whole, runs=200, seed=4), simulate(part, runs=200, seed=4)
    assert np.all(b.redeemed[:, 0] <= a.redeemed[:, 0])
    assert 0 < b.redeemed.sum() < 200


def test_the_budget_is_overrun_as_often_as_the_shock_says() -> None:
    """With very many small offers only the shock is left: P(overrun) is its tail."""
    n = 20_000
    issued = Issued(
        np.arange(n).astype(np.uint64),
        np.zeros(n, np.int32),
        np.full(n, 0.3),
        np.ones(n),
        np.zeros(n),
        np.ones(n),
        np.ones(n),
        ("a",),
        np.array([28]),
    )
    budget, cv = 1.3 * 0.3 * n, 0.2
    found = simulate(issued, runs=1_000, seed=5, redemption_shock=cv, budget=budget)
    spread = np.sqrt(np.log1p(cv**2))
    tail = stats.norm.sf((np.log(1.3) + spread**2 / 2) / spread)
    assert found.overrun is not None
    assert found.overrun.low - 0.01 < tail < found.overrun.high + 0.01


def test_intervals_of_quantiles_cover_in_19_of_20_simulations() -> None:
    rng = np.random.default_rng(0)
    for share in (0.05, 0.5, 0.95):
        truth = stats.norm.ppf(share)
        found = [estimates.quantile(rng.standard_normal(300), share) for _ in range(1_000)]
        covered = sum(item.low <= truth <= item.high for item in found)
        assert 930 <= covered <= 985, share
    few = estimates.quantile(rng.standard_normal(20), 0.95)
    assert few.high == np.inf, "20 runs cannot bound their 95 % quantile from above"


def test_stock_outs_are_counted_by_coupon() -> None:
    issued = replace(offers(), redeem_probability=np.full(400, 0.25), coupon=np.zeros(400, np.int32))
    found = simulate(issued, runs=2_000, seed=6, redemption_shock=0.0, stock={"c0": 105.0})
    chance, unserved = found.stock_out("c0")
    exact = stats.binom(400, 0.25)
    assert chance.low <= exact.sf(105) <= chance.high
    k = np.arange(106, 401)
    assert unserved.low <= ((k - 105) * exact.pmf(k)).sum() <= unserved.high
    with pytest.raises(UsageError, match=r"'c9'.*did you mean"):
        simulate(issued, stock={"c9": 1.0})


def test_the_fan_ends_where_the_spend_ends_and_never_falls() -> None:
    found = simulate(offers(), runs=500, seed=7, redemption_shock=0.2)
    np.testing.assert_allclose(found.paths[-1], np.quantile(found.spend, [0.05, 0.25, 0.5, 0.75, 0.95]))
    assert np.all(np.diff(found.paths, axis=0) >= -1e-9)
    assert day_shares(28).sum() == pytest.approx(1.0) and day_shares(1).size == 1


def test_a_plan_says_what_its_offers_cost_and_bring_in(tmp_path: Path) -> None:
    columns = {
        "redeem_probability": [0.5, 0.1, 0.0],
        "liability": [1.8, 5.0, 4.0],
        "purchase_without": [0.2, 0.2, 0.2],
        "purchase_with": [0.9, 0.25, 0.1],
    }
    issued = issued_of(plan(tmp_path, **columns))
    np.testing.assert_allclose(issued.redeem_probability * issued.paid + issued.contact, [1.0, 0.6, 0.5])
    np.testing.assert_allclose(issued.paid[:2], [1.8, 5.0])
    np.testing.assert_allclose(issued.moved * issued.gain, [4.0, 2.6, 1.5])
    np.testing.assert_allclose(issued.moved, [0.7, 0.1, 0.1])


CAMPAIGN = """
[campaign]
contact_cost = 0.05
[[coupon]]
id = "a"
kind = "fixed"
amount = 1.8
[[coupon]]
id = "b"
kind = "percent"
amount = 10
"""


def test_without_a_liability_a_redemption_costs_the_face_value(tmp_path: Path) -> None:
    """As in the plan's own summary; a percent coupon without a cap has no face value."""
    issued = issued_of(plan(tmp_path, CAMPAIGN, redeem_probability=[0.5, 0.1, 0.2]))
    np.testing.assert_allclose(issued.paid, [1.8, (0.6 - 0.05) / 0.1, 1.8])
    np.testing.assert_allclose(issued.contact, [0.1, 0.05, 0.14])
    notes = " ".join(issued.assumptions)
    assert "coupon's face value" in notes and "no liability is known of 1 offer" in notes
    with pytest.raises(DataError, match="nor have all its coupons a face value"):
        issued_of(plan(tmp_path, CAMPAIGN))


@pytest.mark.slow
def test_a_plan_with_confidence_is_overrun_as_often_as_it_says(allocate: Allocate, tmp_path: Path) -> None:
    """The demo has no liability: summary and simulation must take the same."""
    assert allocate("--budget", "20k", "--confidence", "95%", "-o", tmp_path / "plan", "-q").code == 0
    run = allocate("simulate", tmp_path / "plan", "--runs", 4_000, "--seed", 1, "--json")
    found, summary = json.loads(run.out), json.loads((tmp_path / "plan" / "summary.json").read_text())
    assert found["overrun_probability"]["low"] < 0.05 < found["overrun_probability"]["high"] + 0.005
    # Where redemptions take less than the face value on average, the summary alone counts on the worst.
    assert 0.9 * summary["risk"]["worst"] < found["worst_spend"] <= summary["risk"]["worst"] + 0.01


def test_what_a_plan_does_not_say_is_said(tmp_path: Path) -> None:
    issued = issued_of(plan(tmp_path, redeem_probability=[0.5, 0.1, 0.2]))
    assert any("no liability" in note for note in issued.assumptions)
    assert any("purchase_with" in note for note in issued.assumptions)
    implied = issued_of(plan(tmp_path, liability=[2.0, 6.0, 5.0]))
    np.testing.assert_allclose(implied.redeem_probability, [0.5, 0.1, 0.1])
    with pytest.raises(DataError, match="neither redeem_probability nor liability"):
        issued_of(plan(tmp_path))
    with pytest.raises(DataError, match=r"cost is above liability.*2 rows.*user 1: 1"):
        issued_of(plan(tmp_path, liability=[0.5, 6.0, 0.1]))
    with pytest.raises(DataError, match=r"redeem_probability is not a number between 0 and 1 in 1 row \(user 2: 1.5\)"):
        issued_of(plan(tmp_path, redeem_probability=[0.5, 1.5, 0.2]))
    with pytest.raises(DataError, match="issues no offer"):
        issued_of(PlanFolder(tmp_path, plan(tmp_path).plan.slice(0, 0), {}, {}))


def test_the_terms_of_the_campaign_give_the_days_and_the_contacts(tmp_path: Path) -> None:
    text = '[campaign]\ncontact_cost = 0.25\n[[coupon]]\nid = "a"\nvalid_days = 9\n[[coupon]]\nid = "b"\n'
    issued = issued_of(plan(tmp_path, text, redeem_probability=[0.5, 0.1, 0.2]))
    assert issued.valid_days.tolist() == [9, 28]
    np.testing.assert_allclose(issued.contact, 0.25)


def test_a_simulation_is_told_in_words_numbers_and_a_chart(capsys: pytest.CaptureFixture[str]) -> None:
    found: Simulation = simulate(offers(), runs=100, seed=8, redemption_shock=0.0, budget=500.0, stock={"c1": 10.0})
    simulated.show(found, "spring", "EUR")
    shown = capsys.readouterr().out
    assert "overrun with probability" in shown and "No common shock" in shown and "c1" in shown
    page = simulated.page(found, "<spring>", "EUR")
    assert "&lt;spring&gt;" in page and "<polygon" in page and "http" not in page.replace("http-equiv", "")
    document = json.loads(json.dumps(found.document(), allow_nan=False))
    assert document["runs"] == 100 and len(document["fan"]["spend"]) == 29
    one = simulate(offers(), runs=1, seed=8)
    json.dumps(one.document(), allow_nan=False)


def test_stock_files_are_read_and_their_faults_named(tmp_path: Path) -> None:
    path = tmp_path / "stock.csv"
    path.write_text("coupon,on_hand\na,5\nb,7\n")
    units, notes = read_coupon_stock(path)
    assert units == {"a": 5.0, "b": 7.0} and "on_hand" in notes[0]
    path.write_text("coupon,units\na,5\na,7\n")
    with pytest.raises(DataError, match="each coupon once"):
        read_coupon_stock(path)
    path.write_text("coupon,units\na,-5\n")
    with pytest.raises(DataError, match="0 or more"):
        read_coupon_stock(path)


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"runs": 0}, "runs is 0"),
        ({"redemption_shock": -1.0}, "redemption_shock"),
        ({"stock": {"c0": -1.0}}, "stock of"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(keywords: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        simulate(offers(), **keywords)  # type: ignore[arg-type]


def test_runs_are_written_beside_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from allocator.cli.app import app

    folder = tmp_path / "plan"
    folder.mkdir()
    made = plan(folder, redeem_probability=[0.5, 0.1, 0.2], liability=[1.0, 5.0, 2.0])
    parquet.write_table(made.plan, folder / "plan.parquet")
    summary = {
        "schema_version": 1,
        "issued": 3,
        "objective": 1.0,
        "budget": 2.0,
        "campaign": "spring",
        "currency": "EUR",
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "manifest.json").write_text(json.dumps({"campaign": None, "source": {}}))
    run = CliRunner().invoke(app, ["simulate", str(folder), "--runs", "20", "-o", str(tmp_path / "sim"), "--json"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["campaign"] == "spring"
    assert parquet.read_table(tmp_path / "sim" / "runs.parquet").num_rows == 20
    assert (tmp_path / "sim" / "report.html").read_text().startswith("<!doctype html>")
    again = CliRunner().invoke(app, ["simulate", str(folder), "-o", str(tmp_path / "sim")])
    assert again.exit_code == 2


def test_a_kept_simulation_shows_its_fan_in_the_plans_report(allocate: Allocate, tmp_path: Path) -> None:
    plan, rng = tmp_path / "plan", np.random.default_rng(0)
    parquet.write_table(
        pa.table(
            {
                "user_id": np.arange(900),
                "coupon": ["a", "b", "c"] * 300,
                "value": rng.gamma(2.0, 2.0, 900),
                "cost": rng.gamma(2.0, 0.5, 900),
                "redeem_probability": rng.uniform(0.05, 0.5, 900),
                "liability": np.full(900, 5.0),
            }
        ),
        tmp_path / "offers.parquet",
    )
    assert allocate("--budget", 200, "--offers", tmp_path / "offers.parquet", "-o", plan, "-q").code == 0
    before = (plan / "report.html").read_text()
    assert "What could happen?" not in before
    run = allocate("simulate", plan, "--runs", 50, "--keep")
    assert run.code == 0, run.err
    shown = (plan / "report.html").read_text()
    assert "What could happen?" in shown and 'class="fan"' in shown
    kept = json.loads((plan / "simulated.json").read_text())
    assert kept["runs"] == 50
    assert allocate("report", plan).code == 0
    assert (plan / "report.html").read_text() == shown
    (plan / "simulated.json").write_text('{"runs": 3}')
    run = allocate("report", plan)
    assert (run.code, "--keep` again" in run.err) == (3, True)
    assert (plan / "report.html").read_text() == shown
