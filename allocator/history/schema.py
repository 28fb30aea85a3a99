"""What the columns of a profile are: name, unit, meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from allocator.errors import DataError

VERSION = 1
NEAR_DAYS = 90
QUARTERS = ("night", "morning", "afternoon", "evening")  # from 0, 6, 12 and 18 o'clock
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
OTHER = "other"
MOST_CATEGORIES = 12


@dataclass(frozen=True)
class Feature:
    """A column of a profile.

    Attributes
    ----------
    name
        Of the column.
    unit
        `days`, `currency`, `visits`, `share` (0 to 1) and the like.
    meaning
        One sentence; `None` of history stands for: a user without any.
    empty
        What a user without history has: 0, or NaN where a number would be made up.
    grows
        Whether it grows by the calendar alone: it is counted from the begin of the data, so a later campaign finds more of
        it with everybody.
    """

    name: str
    unit: str
    meaning: str
    empty: float
    grows: bool = False


@dataclass(frozen=True)
class ProfileSchema:
    """Which features a profile has; keep it with a model, and give it to `profiles` when the model is used.

    Attributes
    ----------
    categories
        The categories that have a share of their own, biggest first; the others share one column.
    category_column
        The column of products that they come from; `None` without products.
    has_clock
        Whether times have hours.
    has_discount
        Whether lines say what was given off.
    near_days
        How many days count as lately.
    """

    categories: tuple[str, ...] = ()
    category_column: str | None = None
    has_clock: bool = True
    has_discount: bool = True
    near_days: int = NEAR_DAYS

    @property
    def features(self) -> tuple[Feature, ...]:
        """The columns, in order."""
        near, nan = self.near_days, float("nan")
        found = [
            Feature("recency", "days", "since the last visit", nan),
            Feature("tenure", "days", "since the first visit in the data", nan, grows=True),
            Feature("visits", "visits", "baskets bought", 0.0, grows=True),
            Feature(f"visits_{near}", "visits", f"in the last {near} days", 0.0),
            Feature("money", "currency", "paid in all", 0.0, grows=True),
            Feature(f"money_{near}", "currency", f"paid in the last {near} days", 0.0),
            Feature("basket_money", "currency", "paid a visit, on average", nan),
            Feature("basket_units", "units", "bought a visit, on average", nan),
            Feature("basket_lines", "lines", "bought a visit, on average", nan),
            Feature("unit_price", "currency", "paid a unit, on average", nan),
            Feature("gap", "days", "between visits, on average; missing below two visits", nan),
            Feature("overdue", "gaps", "recency as a multiple of the gap; 1 is on time", nan),
            Feature(
                "trend_money",
                "-1 to 1",
                f"money of the last {near} days less that of the {near} before, over both",
                nan,
            ),
            Feature(
                "trend_visits",
                "-1 to 1",
                f"visits of the last {near} days less those of the {near} before, over both",
                nan,
            ),
        ]
        if self.has_discount:
            found += [
                Feature("discount_share", "share", "of what the goods cost before discounts that was given off", nan),
                Feature("discounted_lines", "share", "of the lines that had a discount", nan),
            ]
        if self.has_clock:
            found += [
                Feature(f"hour_{name}", "share", f"of the visits from {6 * place} to {6 * place + 6} o'clock", nan)
                for place, name in enumerate(QUARTERS)
            ]
        found += [Feature(f"weekday_{name}", "share", f"of the visits on a {name.title()}", nan) for name in WEEKDAYS]
        if self.category_column is not None:
            found += [
                Feature(f"category[{name}]", "share", f"of the money spent where {self.category_column} is {name}", nan)
                for name in self.categories
            ]
            found.append(Feature("category_other", "share", "of the money spent on anything else", nan))
        return tuple(found)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(feature.name for feature in self.features)

    def document(self) -> dict[str, Any]:
        """Return what JSON can hold; `of_document` reads it."""
        return {"version": VERSION, **asdict(self), "categories": list(self.categories)}

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> ProfileSchema:
        """Read what `document` made; raises `DataError` where it is of another version or not whole."""
        if document.get("version") != VERSION:
            raise DataError(
                f"the schema of profiles is of version {document.get('version')!r}, this program reads {VERSION}; "
                "make the profiles anew"
            )
        try:
            return cls(
                tuple(str(name) for name in document["categories"]),
                document["category_column"],
                bool(document["has_clock"]),
                bool(document["has_discount"]),
                int(document["near_days"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"the schema of profiles is not whole ({error}); make the profiles anew") from error
