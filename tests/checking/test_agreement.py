"""`allocate check` says of every folder what `train`, `score` and `allocate` do with it: one set of readers, one verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allocator.campaign import load_campaign
from allocator.checking import Report, check, find_inputs
from allocator.checking.parts import problem
from allocator.errors import AllocatorError
from allocator.history import read_users
from allocator.learning import default_candidates, train
from allocator.learning.offers import Scorer
from allocator.learning.past import Past
from allocator.learning.streaming import score_file
from tests.history.worlds import departments, many, trial, write

CAMPAIGN = """
[campaign]
name = "spring"
budget = 1000
start = 2026-01-01
[[coupon]]
id = "10off"
kind = "fixed"
amount = 10
[[coupon]]
id = "15off"
kind = "fixed"
amount = 15
"""
FOR_NEW = CAMPAIGN + 'users = { segment = "new" }\n'
FOR_MEAT = CAMPAIGN + 'scope = { department = "MEAT" }\n'


@dataclass
class Folder:
    """Tables of a sound campaign, to be damaged; `None`: left out."""

    tables: dict[str, pd.DataFrame]
    campaign: str = CAMPAIGN
    ending: str = "parquet"
    written: dict[str, str] = field(default_factory=dict)

    def change(self, name: str, **columns: Any) -> Folder:
        self.tables[name] = self.tables[name].assign(**columns)
        return self

    def put(self, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Folder:
        self.tables[name] = change(self.tables[name])
        return self

    def write(self, place: Path) -> Path:
        for name, table in self.tables.items():
            write(table, place / f"{name}.{self.ending}")
        for name, text in self.written.items():
            (place / name).write_text(text)
        (place / "campaign.toml").write_text(self.campaign)
        return place


def sound() -> Folder:
    people = pd.DataFrame({"user_id": np.arange(1, 401)})
    people["segment"] = np.where(people["user_id"] % 2 == 0, "new", "loyal")
    people["age"] = 20 + people["user_id"] % 50
    tested = trial(400).drop(columns=["age", "city"]).assign(cards=lambda t: t["user_id"] % 3)
    people["cards"] = people["user_id"] % 3
    return Folder({"trial": tested.drop(columns="cards"), "users": people})


def with_history(campaign: str = CAMPAIGN) -> Folder:
    made = sound()
    made.campaign = campaign
    made.tables |= {"transactions": many(3_000, 400), "products": departments(60)}
    return made


def with_offers() -> Folder:
    made = sound()
    pairs = [(user, coupon) for user in range(1, 301) for coupon in ("10off", "15off")]
    made.tables["offers"] = pd.DataFrame(pairs, columns=["user_id", "coupon"]).assign(value=2.0, cost=1.0)
    del made.tables["trial"]
    return made


def as_csv(made: Folder) -> Folder:
    made.ending = "csv"
    return made


def campaign(made: Folder, text: str) -> Folder:
    made.campaign = text
    return made


def first(table: pd.DataFrame, name: str, value: Any) -> pd.Series[Any]:
    return table[name].where(table.index != table.index[0], value)


TAKEN: dict[str, Callable[[], Folder]] = {
    "nothing wrong": sound,
    "nothing wrong, CSV": lambda: as_csv(sound()),
    "nothing wrong, with a history": with_history,
    "nothing wrong, offers": with_offers,
    "users under another name": lambda: sound().put("users", lambda t: t.rename(columns={"user_id": "customer_id"})),
    "users under another name, CSV": lambda: as_csv(
        sound().put("users", lambda t: t.rename(columns={"user_id": "household_key"}))
    ),
    "users under another name, offers": lambda: with_offers().put(
        "users", lambda t: t.rename(columns={"user_id": "Customer"})
    ),
    "a trial with dates": lambda: with_history().change("trial", start_date="2025-11-01"),
    "spend alone tells of purchases": lambda: sound().put("trial", lambda t: t.drop(columns=["purchased", "redeemed"])),
    "a coupon for nobody": lambda: campaign(sound(), FOR_NEW.replace("new", "none at all")),
    "a column in two tables": lambda: sound().change("trial", age=lambda t: t["user_id"] % 60),
    "a column in two tables, numbers and text": lambda: sound().change(
        "trial", segment=lambda t: np.where(t["user_id"] % 2, "a", "b")
    ),
    "a coupon for some": lambda: campaign(sound(), FOR_NEW),
    "gaps in an attribute": lambda: sound().put("users", lambda t: t.assign(age=first(t, "age", np.nan))),
    "ids are text in transactions, all CSV": lambda: as_csv(
        with_history().put("transactions", lambda t: pd.concat([t, t.head(1).assign(user_id="guest")]))
    ),
}

REFUSED: dict[str, Callable[[], Folder]] = {
    "a user twice in the trial": lambda: sound().put("trial", lambda t: pd.concat([t, t.head(1)])),
    "a user twice in users": lambda: sound().put("users", lambda t: pd.concat([t, t.head(1)])),
    "a user twice in users, CSV": lambda: as_csv(sound().put("users", lambda t: pd.concat([t, t.head(1)]))),
    "a user twice in users, offers": lambda: with_offers().put("users", lambda t: pd.concat([t, t.head(1)])),
    "a user without an id": lambda: sound().put(
        "users", lambda t: t.assign(user_id=first(t.astype({"user_id": str}), "user_id", ""))
    ),
    "an infinite attribute": lambda: sound().put("users", lambda t: t.assign(age=first(t, "age", np.inf))),
    "an infinite feature": lambda: sound().change("trial", weight_kg=np.inf),
    "no control": lambda: sound().put("trial", lambda t: t[t["coupon"] != "control"]),
    "no coupon": lambda: sound().put("trial", lambda t: t[t["coupon"] == "control"]),
    "nobody bought": lambda: sound().change("trial", purchased=0, spend=0.0, redeemed=0),
    "everybody bought": lambda: sound().change("trial", purchased=1),
    "purchases that are counts": lambda: sound().change("trial", purchased=2),
    "negative spend": lambda: sound().change("trial", spend=-1.0),
    "spend without a purchase": lambda: sound().change("trial", spend=3.0),
    "redeemed without a coupon": lambda: sound().change("trial", redeemed=1, purchased=1),
    "weights of 0": lambda: sound().change("trial", weight=0.0),
    "chances of 0": lambda: sound().change("trial", propensity=0.0),
    "chances of some arms": lambda: sound().change("trial", **{"propensity[10off]": 0.3}),
    "a feature that is a date": lambda: sound().change("trial", joined=pd.Timestamp("2020-01-01")),
    "a time that is no date": lambda: sound().change("trial", time="31/01/2026"),
    "a time in seconds": lambda: sound().change("trial", time=1_700_000_000),
    "no features": lambda: sound().put("users", lambda t: t[["user_id"]]),
    "users who are not there": lambda: sound().put("users", lambda t: t.head(300)),
    "ids of two kinds": lambda: sound().put("users", lambda t: t.assign(user_id="u" + t["user_id"].astype(str))),
    "a coupon that the file lacks": lambda: campaign(sound(), CAMPAIGN.replace('"15off"', '"20off"')),
    "users lack the trial's features": lambda: sound().change("trial", nights=3.0),
    "a coupon for a column that is not there": lambda: campaign(sound(), FOR_NEW.replace("segment", "segmnt")),
    "nobody knows what a purchase spends": lambda: sound().put("trial", lambda t: t.drop(columns="spend")),
    "a key that is not known": lambda: campaign(sound(), CAMPAIGN.replace("budget", "budgt")),
    "nobody knows when": lambda: with_history(CAMPAIGN.replace("start = 2026-01-01\n", "")),
    "an attribute that is a profile's": lambda: with_history().change("users", recency=1.0),
    "no sound transaction": lambda: with_history().change("transactions", amount=-1.0),
    "transactions of other users": lambda: with_history().put(
        "transactions", lambda t: t.assign(user_id="u" + t["user_id"].astype(str))
    ),
    "items of two kinds": lambda: with_history().put(
        "products", lambda t: t.assign(item_id="i" + t["item_id"].astype(str))
    ),
    "an item twice": lambda: with_history().put(
        "products", lambda t: pd.concat([t, t.head(1).assign(department="DRUG")])
    ),
    "a scope of nothing": lambda: with_history(FOR_MEAT.replace("MEAT", "BOOKS")),
    "a scope by no column": lambda: with_history(FOR_MEAT.replace("department", "aisle")),
    "too short a past for a scope": lambda: with_history(FOR_MEAT).put(
        "transactions", lambda t: t[t["time"] >= "2025-11-20"]
    ),
    "offers of users who are not there": lambda: with_offers().put("users", lambda t: t.head(200)),
    "negative cost": lambda: with_offers().change("offers", cost=-1.0),
    "an offer twice": lambda: with_offers().put("offers", lambda t: pd.concat([t, t.head(1)])),
}


def done(place: Path) -> AllocatorError | None:
    """Return what the commands raise first, on the way from these files to a plan."""
    there = find_inputs(place)
    try:
        terms = load_campaign(place / "campaign.toml")
        if there.offers is not None:
            assert there.users is not None
            problem(there.offers, read_users(there.users), terms, False)
            return None
        assert there.users is not None
        history = {"transactions": there.transactions, "products": there.products}
        model = train(there.trial, campaign=terms, users=there.users, candidates=default_candidates()[3:], **history)  # type: ignore[arg-type]
        past = None if there.transactions is None else Past.read(there.transactions, there.products)
        score_file(Scorer(model, terms, past=past), there.users, place / "out.parquet")
    except AllocatorError as error:
        return error
    return None


def checked(place: Path) -> Report:
    return check(find_inputs(place))


@pytest.mark.slow
def test_a_campaign_with_a_scope_is_sound_and_scored(tmp_path: Path) -> None:
    place = with_history(FOR_MEAT).write(tmp_path)
    assert not checked(place).errors
    assert done(place) is None


LONGER = ("a trial with dates", "ids are text in transactions, all CSV")


@pytest.mark.parametrize("what", [pytest.param(w, marks=pytest.mark.slow) if w in LONGER else w for w in TAKEN])
def test_what_the_commands_take_is_sound(tmp_path: Path, what: str) -> None:
    place = TAKEN[what]().write(tmp_path)
    assert not checked(place).errors
    assert done(place) is None


@pytest.mark.parametrize("what", list(REFUSED))
def test_what_a_command_refuses_is_told_with_its_code(tmp_path: Path, what: str) -> None:
    place = REFUSED[what]().write(tmp_path)
    report, error = checked(place), done(place)
    assert error is not None
    assert report.errors and report.exit_code == error.exit_code, (str(error), report.errors)


def test_a_coupon_that_nobody_may_get_is_warned_of_by_check_and_by_score(tmp_path: Path) -> None:
    place = TAKEN["a coupon for nobody"]().write(tmp_path)
    words = "coupon '15off' is for users with segment = 'none at all', and no user is"
    assert any(words in warning for warning in checked(place).warnings)
    terms = load_campaign(place / "campaign.toml")
    model = train(
        str(place / "trial.parquet"), campaign=terms, users=place / "users.parquet", candidates=default_candidates()[3:]
    )
    made = score_file(Scorer(model, terms), place / "users.parquet", place / "out.parquet")
    assert any(words in note for note in made.notes)
    assert made.coupons["15off"].offers == 0
