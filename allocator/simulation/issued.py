"""The offers that a plan issues, as chances and amounts that a run can draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from allocator.campaign import Campaign
from allocator.campaign.reading import parse_campaign
from allocator.demo import builtin
from allocator.errors import DataError, counted
from allocator.tables.plan_folder import PlanFolder

EXAMPLES = 3  # rows that a message shows
VALID_DAYS = 28  # of a coupon whose terms do not say


@dataclass(frozen=True, eq=False)
class Issued:
    """Issued offers; arrays of `(n_offers,)`, and of `(n_coupons,)` by coupon.

    Attributes
    ----------
    luck
        uint64: what an offer's random numbers hang on; of user and coupon, so that two plans that issue the same offer
        draw it alike.
    coupon
        int32 index into `coupon_ids`.
    redeem_probability
        float64, at a shock of 1.
    paid
        float64, currency: what a redeemed offer costs.
    contact
        float64, currency: what it costs to issue one.
    moved, gain
        float64: with probability `moved` the offer brings in the margin `gain` (currency) that would not have come. Their
        product is value + cost.
    valid_days
        int: days in which each coupon can be redeemed.
    assumptions
        What had to be taken for granted, in sentences.
    """

    luck: np.ndarray
    coupon: np.ndarray
    redeem_probability: np.ndarray
    paid: np.ndarray
    contact: np.ndarray
    moved: np.ndarray
    gain: np.ndarray
    coupon_ids: tuple[str, ...]
    valid_days: np.ndarray
    assumptions: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of offers."""
        return int(self.luck.size)

    @property
    def worst_spend(self) -> float:
        """What is spent if every offer is redeemed, currency."""
        return float(self.paid.sum() + self.contact.sum())

    @property
    def expected_spend(self) -> float:
        """Expected spend at a shock of 1, currency."""
        return float((self.redeem_probability * self.paid).sum() + self.contact.sum())


def campaign_of(folder: PlanFolder) -> Campaign:
    """Return the campaign that a plan was made with; an empty one where it had none."""
    text = folder.campaign_text
    return Campaign() if text is None else parse_campaign(text, f"the campaign in {folder.path / 'manifest.json'}")


def issued_of(folder: PlanFolder) -> Issued:
    """Read the issued offers of a plan folder.

    What is paid if an offer is redeemed is its `liability`; without that column, its coupon's face value, as in the plan's
    own summary; where neither is known, what its cost leaves after the campaign's contact cost. The rest of the cost is
    contact.

    Raises
    ------
    DataError
        Where the plan issues nothing, has no redemption probabilities (nor liabilities that tell them), or has numbers
        that contradict each other.
    """
    table, campaign = folder.plan, campaign_of(folder)
    place = str(folder.path / "plan.parquet")
    if table.num_rows == 0:
        raise DataError(f"{place} issues no offer; there is nothing to simulate")
    columns = PlanColumns(table, place)
    value, cost = columns.number("value"), columns.number("cost", least=0.0)
    names, coupon = np.unique(columns.text("coupon"), return_inverse=True)
    said: list[str] = []
    liability = _liabilities(columns, names, coupon, face_values_of(folder, campaign), said)
    if "redeem_probability" in table.column_names:
        chance = columns.number("redeem_probability", least=0.0, most=1.0)
    else:
        chance = _implied_chance(cost, liability, columns)
        said.append("the plan has no redeem_probability: cost / liability is taken, as if contacts cost nothing")
    contact, paid = _split_cost(cost, chance, liability, campaign, said)
    moved, gain = _margins(columns, value + cost, chance, said)
    days = {item.id: item.valid_days or VALID_DAYS for item in campaign.coupon}
    valid = np.array([days.get(name, VALID_DAYS) for name in names.tolist()])
    return Issued(
        columns.luck(names, coupon),
        coupon.astype(np.int32),
        chance,
        paid,
        contact,
        moved,
        gain,
        tuple(names.tolist()),
        valid,
        tuple(said),
    )


def face_values_of(folder: PlanFolder, campaign: Campaign) -> dict[str, float]:
    """Return by coupon what its terms say that a redemption costs, currency; of the built-in demo too, which has no file."""
    return builtin.campaign().face_values if folder.is_demo else campaign.face_values


def _liabilities(
    columns: PlanColumns, names: np.ndarray, coupon: np.ndarray, faces: Mapping[str, float], said: list[str]
) -> np.ndarray:
    """Return what each offer costs if it is redeemed, `(n_offers,)` currency; NaN where that is not known."""
    if columns.has("liability"):
        return columns.number("liability", least=0.0)
    face = np.array([faces.get(name, np.nan) for name in names.tolist()])
    if not np.isnan(face).all():
        said.append("the plan has no liability: a redemption is taken to cost the coupon's face value")
    return face[coupon]


def _implied_chance(cost: np.ndarray, liability: np.ndarray, columns: PlanColumns) -> np.ndarray:
    if np.isnan(liability).any():
        raise DataError(
            f"{columns.place} has neither redeem_probability nor liability (nor have all its coupons a face value), so that "
            "nothing says how often an offer is redeemed; add redeem_probability to the offers and make the plan again"
        )
    columns.refuse(
        cost > liability + 1e-9, "cost", cost, "above liability, so that no probability fits; add redeem_probability"
    )
    return np.divide(cost, liability, out=np.zeros_like(cost), where=liability > 0)


def _split_cost(
    cost: np.ndarray, chance: np.ndarray, liability: np.ndarray, campaign: Campaign, said: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return what issuing an offer costs and what its redemption does; chance x the latter + the former is the cost."""
    unknown = np.isnan(liability)
    contact = np.where(
        unknown, np.minimum(campaign.campaign.contact_cost, cost), np.maximum(cost - chance * liability, 0.0)
    )
    odd = int(np.count_nonzero(chance * liability > cost * (1 + 1e-9) + 1e-9))
    if odd:
        said.append(
            f"{counted(odd, 'offer has', 'offers have')} a liability above cost / redeem_probability: a redemption "
            "is taken to cost the latter. The plan's summary, which counts on the worst, says that everyone's redemptions "
            f"could spend {float((contact + np.where(unknown, cost, liability)).sum()):,.2f}"
        )
    if unknown.any():
        some = "" if unknown.all() else f" of {counted(int(unknown.sum()), 'offer', 'offers')}"
        said.append(
            f"no liability is known{some}: a redemption is taken to cost (cost - contact_cost) / redeem_probability"
        )
    contact = np.where(chance > 0, contact, cost)
    return contact, np.divide(cost - contact, chance, out=np.zeros_like(cost), where=chance > 0)


def _margins(
    columns: PlanColumns, margin: np.ndarray, chance: np.ndarray, said: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return with which chance an offer moves its user, and what it then brings in; `margin` is their product."""
    names = ("purchase_without", "purchase_with")
    if not columns.has(*names):
        said.append(
            "the plan has no purchase_without and purchase_with: what offers bring in is not drawn, only what they cost"
        )
        return np.ones_like(margin), margin
    without, with_ = (columns.number(name, least=0.0, most=1.0) for name in names)
    # A redeemed coupon changes a basket even where the purchase was sure.
    moved = np.maximum(np.abs(with_ - without), chance)
    moved = np.where(moved > 0, moved, 1.0)
    return moved, margin / moved


class PlanColumns:
    """Reads a plan's columns and names the rows that are wrong."""

    def __init__(self, table: pa.Table, place: str) -> None:
        self.table, self.place = table, place

    def has(self, *names: str) -> bool:
        """Whether the plan has all of these columns."""
        return all(name in self.table.column_names for name in names)

    def number(self, name: str, *, least: float = -np.inf, most: float = np.inf) -> np.ndarray:
        """Return a column as float64; raises `DataError` for what is no number from `least` to `most`."""
        column = self.table[name]
        if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
            raise DataError(f"{self.place}: column {name!r} is {column.type}; it must hold numbers")
        numbers = column.to_numpy().astype(np.float64)
        between = f"between {least:g} and {most:g}" if np.isfinite(most) else f"{least:g} or more"
        words = "a finite number" if np.isinf(least) else f"a number {between}"
        self.refuse(~(np.isfinite(numbers) & (numbers >= least) & (numbers <= most)), name, numbers, f"not {words}")
        return numbers

    def text(self, name: str) -> np.ndarray:
        """Return a column as text."""
        return self.table[name].to_pandas().to_numpy().astype(str)

    def luck(self, names: np.ndarray, coupon: np.ndarray) -> np.ndarray:
        """Return a number for each offer that depends on its user and coupon alone, `(n,)` uint64."""
        users = self.table["user_id"].to_pandas()
        of_user = pd.util.hash_pandas_object(users.reset_index(drop=True), index=False).to_numpy()
        of_coupon = pd.util.hash_array(names.astype(object))
        with np.errstate(over="ignore"):
            return of_user ^ (of_coupon[coupon] * np.uint64(0x9E3779B97F4A7C15))

    def refuse(self, wrong: np.ndarray, name: str, numbers: np.ndarray, why: str) -> None:
        """Raise `DataError` where any row is wrong: how many, and the first three."""
        count = int(np.count_nonzero(wrong))
        if not count:
            return
        rows = np.flatnonzero(wrong)[:EXAMPLES].tolist()
        shown = "; ".join(f"user {self.table['user_id'][row].as_py()!r}: {numbers[row]:g}" for row in rows)
        raise DataError(
            f"{self.place}: {name} is {why} in {counted(count, 'row', 'rows')} ({shown}); mend the offers and make the plan again"
        )
