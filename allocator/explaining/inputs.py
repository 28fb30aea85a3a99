"""The offers, users and rules that a plan was made from: found again, and known to be the same."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from allocator.campaign import Campaign, load_campaign, parse_campaign
from allocator.demo import builtin
from allocator.errors import DataError
from allocator.explaining.facts import Facts, facts
from allocator.limit import Limit
from allocator.tables import lookup
from allocator.tables.files import hash_inputs, read_users
from allocator.tables.output import MANIFEST
from allocator.tables.plan_folder import PlanFolder, read_plan_folder

CHANCE_MEASURE = "cost at "  # of the budget that holds with a probability, as summaries call it


DRAW = "value_draw_"


@dataclass(frozen=True)
class Given:
    """Where a plan's inputs lie now, where that is not where its manifest says; `None`: there."""

    offers: str | None = None
    users: str | None = None
    campaign: str | None = None
    model: str | None = None
    transactions: str | None = None
    products: str | None = None


@dataclass(frozen=True)
class Rules:
    """What a plan had to keep.

    Attributes
    ----------
    limits
        In the order of the summary's.
    max_per_user
        A number, or the name of a column of users.
    face_values
        By coupon, currency: the default liability of its offers.
    """

    coupons: tuple[str, ...]
    limits: tuple[Limit, ...]
    max_per_user: int | str
    exclusive: tuple[tuple[str, ...], ...]
    face_values: Mapping[str, float]


def _with_chance(rules: Rules, facts: Facts, notes: list[str]) -> Rules:
    """Return the rules with the budget that holds with a probability, where the plan had one.

    Its use is a percentile of the spend, which is no sum over offers; near the plan it grows with the expected spend.
    """
    extra = facts.limits[len(rules.limits) :]
    if len(extra) != 1 or not extra[0].measure.startswith(CHANCE_MEASURE) or facts.spend <= 0:
        return rules
    use = extra[0]
    if use.price:
        notes.append(
            f"{use.name} limits a percentile of the spend, which is no sum over offers: its part in each offer is about "
            f"{use.used / facts.spend:.2f} of the offer's cost"
        )
    limit = Limit(use.name, {"cost": use.used / facts.spend}, use.at_least, use.at_most)
    return dataclasses.replace(rules, limits=(*rules.limits, limit))


@dataclass(frozen=True, eq=False)
class Opened:
    """A plan and, where they are asked for, the rows that it was made from.

    Attributes
    ----------
    notes
        What the reader should know of the inputs; grows as they are found.
    """

    folder: PlanFolder
    facts: Facts
    given: Given
    notes: list[str] = field(default_factory=list)
    found: dict[str, str] = field(default_factory=dict)

    @functools.cached_property
    def rules(self) -> Rules:
        """What the plan had to keep; raises `DataError` where that cannot be told."""
        rules = _with_chance(_rules(self.folder, self.facts, self.given, self.notes), self.facts, self.notes)
        names, priced = [limit.name for limit in rules.limits], [use.name for use in self.facts.limits]
        if names != priced:
            odd = sorted(set(names) ^ set(priced)) or names
            raise DataError(
                f"{self.folder.path}: the campaign's limits are not those of the plan's summary ({', '.join(odd[:3])}); "
                "give the campaign that the plan was made with: --campaign"
            )
        return rules

    @property
    def is_demo(self) -> bool:
        """Whether the plan is one of the built-in demo campaign."""
        return self.given.offers is None and self.folder.is_demo

    @property
    def has_users(self) -> bool:
        """Whether a users table belongs to the plan."""
        return self.is_demo or self._named("users") is not None

    def offers_of_user(self, user: str, beside: Sequence[str]) -> pa.Table:
        """Return a user's offers: `coupon`, and columns of numbers."""
        measures = sorted(set().union(*(limit.weights for limit in self.rules.limits)) - {"count", "liability"})
        if self.is_demo:
            table = _demo().offers
            return _rows(table, lookup.USER, user).drop_columns([lookup.USER])
        draws = [name for name, _ in self.draw_weights]
        table = self._weighed(lookup.offers_of_user(self._path("offers"), user, measures, [*beside, *draws]))
        return table.drop_columns([name for name in draws if name in table.column_names and name not in beside])

    def offers_of_coupon(self, coupon: str) -> pa.Table:
        """Return a coupon's offers: `user_id` and further columns."""
        if self.is_demo:
            return _rows(_demo().offers, lookup.COUPON, coupon).drop_columns([lookup.COUPON])
        return self._weighed(lookup.offers_of_coupon(self._path("offers"), coupon))

    @functools.cached_property
    def draw_weights(self) -> tuple[tuple[str, float], ...]:
        """The draws' columns that a careful plan's values are made of, and the weight of each; none for other plans."""
        hedge = self.folder.summary.get("hedge")
        weights = hedge.get("weights") if isinstance(hedge, dict) else None
        if not isinstance(weights, list) or not all(isinstance(weight, int | float) for weight in weights):
            return ()
        self.notes.append(
            "the plan is careful about uncertain effects: an offer's value is the weighted mean of its draws, in which the bad "
            "draws count more"
        )
        return tuple((f"{DRAW}{place}", float(weight)) for place, weight in enumerate(weights))

    @functools.cached_property
    def plan(self) -> pa.Table:
        """The issued offers, with the values that the plan was made for."""
        return self._weighed(self.folder.plan)

    def _weighed(self, table: pa.Table) -> pa.Table:
        """Return offers with the values that a careful plan was made for; others as they are."""
        if not self.draw_weights or not all(name in table.column_names for name, _ in self.draw_weights):
            return table
        value = np.zeros(table.num_rows)
        for name, weight in self.draw_weights:
            value += weight * table[name].cast(pa.float64()).to_numpy()
        return table.set_column(table.column_names.index("value"), "value", pa.array(value))

    def row_of_user(self, user: str) -> pa.Table:
        """Return a user's row of the users table, where there is one."""
        if self.is_demo:
            return _rows(_demo().users, lookup.USER, user)
        return lookup.row_of_user(self._path("users"), user)

    def users(self) -> pa.Table:
        """Return the users table."""
        return _demo().users if self.is_demo else read_users(self._path("users"))

    def user_ids(self) -> pa.Array:
        """Return the ids of all users as text: those of the users table, else of the offers."""
        if self.is_demo:
            return _demo().users[lookup.USER].cast(pa.string()).combine_chunks()
        return lookup.distinct_ids(self._path("users" if self.has_users else "offers"))

    def digests(self, part: str) -> list[str]:
        """Return the sorted checksums of a part's files when the plan was made; none where the manifest tells none."""
        return _digests(self.folder, self.folder.input(part))

    def held_out(self) -> Path | None:
        """Return the table of the users in the control group, where the plan has one."""
        path = self.folder.path / "holdout.parquet"
        return path if path.is_file() else None

    def has(self, part: str) -> bool:
        """Whether the caller or the manifest name a part."""
        return self._named(part) is not None

    def place(self, part: str) -> str:
        """Return where a part lies that the plan was not made from directly: not compared with the manifest."""
        name = self._named(part)
        assert name is not None
        return name if getattr(self.given, part) is not None else _locate(self.folder, name, part)

    def campaign(self) -> Campaign:
        """Return the campaign file that the plan was made with."""
        return _campaign(self.folder, self.given, self.notes)

    def _named(self, part: str) -> str | None:
        given: str | None = getattr(self.given, part)
        return self.folder.input(part) if given is None else given

    def _path(self, part: str) -> str:
        """Return where a part lies now; looked for, and compared with the plan's manifest, once."""
        if part not in self.found:
            name = self._named(part)
            if name is None:
                raise DataError(
                    f"{self.folder.path / MANIFEST} does not say which {part} the plan was made from (another version "
                    f"wrote it, or none were given); name them with --{part}"
                )
            chosen = getattr(self.given, part) is not None
            place = name if chosen else _locate(self.folder, name, part)
            self._compare(part, place, chosen)
            self.found[part] = place
        return self.found[part]

    def _compare(self, part: str, place: str, chosen: bool) -> None:
        """Refuse what has changed since the plan was made; note it where the caller chose the file."""
        then = self.digests(part)
        if part == "offers" and not chosen and Path(place).parent == self.folder.path:
            return  # made by a model and kept in the plan's own folder
        if sorted(hash_inputs([place]).values()) == then:
            return
        if not then:
            self.notes.append(
                f"The plan does not tell a checksum of its {part}: whether {place} is the same is not known."
            )
        elif chosen:
            self.notes.append(
                f"{place} is not what the plan was made from (its SHA-256 differs): what follows holds for {place}."
            )
        else:
            raise DataError(
                f"{place} has changed since the plan was made (its SHA-256 differs from the manifest's), so it no longer "
                f"tells why. Give the {part} of then with --{part}, or make the plan again; to go by the changed file "
                f"all the same, name it: --{part} {place}"
            )


def open_plan(plan: str | Path | PlanFolder, given: Given) -> Opened:
    """Read a plan folder; its rules, offers and users are looked for when they are asked for.

    Raises
    ------
    UsageError
        Where the path is no plan folder, or holds no plan.
    DataError
        Where a file of it is damaged or of another version.
    """
    folder = plan if isinstance(plan, PlanFolder) else read_plan_folder(plan)
    return Opened(folder, facts(folder), given)


def _rules(folder: PlanFolder, headline: Facts, given: Given, notes: list[str]) -> Rules:
    if given.campaign is None and given.offers is None and folder.is_demo:
        made = _demo()
        limits = (Limit("budget", "cost", at_most=headline.budget), *made.limits)
        return Rules(headline.coupons, limits, 1, (), made.face_values)
    campaign = _campaign(folder, given, notes)
    return Rules(
        headline.coupons,
        tuple(campaign.limits(headline.budget)),
        campaign.max_per_user,
        campaign.exclusive,
        campaign.face_values,
    )


def _campaign(folder: PlanFolder, given: Given, notes: list[str]) -> Campaign:
    if given.campaign is not None:
        then = _digests(folder, folder.input("campaign"))
        if then and sorted(hash_inputs([given.campaign]).values()) != then:
            notes.append(f"{given.campaign} is not what the plan was made with (its SHA-256 differs).")
        return load_campaign(given.campaign)
    if folder.campaign_text is not None:
        return parse_campaign(folder.campaign_text, f"the campaign in {folder.path / MANIFEST}")
    if "source" in folder.manifest and folder.input("campaign") is None:
        return Campaign()
    raise DataError(
        f"{folder.path / MANIFEST} does not hold the campaign that the plan was made with (another version wrote it); "
        "give it with --campaign"
    )


def _locate(folder: PlanFolder, name: str, part: str) -> str:
    """Find an input by its name of then: from here, else from the folders above the plan."""
    places = (
        [Path(name)] if Path(name).is_absolute() else [Path(name), *(up / name for up in folder.path.resolve().parents)]
    )
    if part == "offers" and folder.input("model") is not None:
        places.insert(0, folder.path / Path(name).name)  # what a model made lies in the plan's own folder
    for place in places:
        if place.exists() or (any(sign in name for sign in "*?[") and place.parent.is_dir()):
            return str(place)
    raise DataError(
        f"{name}: the {part} that the plan in {folder.path} was made from are not there any more; say where they are: "
        f"--{part} PATH"
    )


def _digests(folder: PlanFolder, name: str | None) -> list[str]:
    """Return the sorted checksums of the files that a name stood for when the plan was made."""
    inputs = folder.manifest.get("inputs")
    if name is None or not isinstance(inputs, dict):
        return []
    name = str(Path(name))  # as the files' names were written

    def meant(file: str) -> bool:
        return file == name or file.startswith(name + os.sep) or fnmatch.fnmatch(file, name)

    return sorted(str(digest) for file, digest in inputs.items() if meant(str(file)))


@functools.cache
def _demo() -> builtin.Demo:
    return builtin.campaign()


def _rows(table: pa.Table, column: str, text: str) -> pa.Table:
    return table.filter(pc.equal(table[column].cast(pa.string()), text))
