"""Coupons that no trial had: their effects are read off those of the trial's coupons, with an error that says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from allocator.campaign import Coupon
from allocator.scoring import Discount
from allocator.shares import percent

LEAST_ERROR = 0.25  # of a borrowed uplift, as a share of it: no trial has tried these terms
MOST_NAMED = 5  # coupons of which a note says the same
UNKNOWN_ERROR = 0.5  # where nothing of the terms says which of the trial's coupons is alike


@dataclass(frozen=True, eq=False)
class Kinship:
    """How the asked coupons' effects are made of the trained ones'.

    Attributes
    ----------
    weights
        `(trained, asked)`; columns add up to 1.
    own
        `(asked,)` bool: the coupon itself was in the trial, on the same terms.
    error
        `(asked,)` standard error of the borrowed uplift, as a share of it; 0 for the trial's own.
    notes
        On coupons that are not the trial's own, a sentence for those of which the same holds.
    """

    weights: np.ndarray
    own: np.ndarray
    error: np.ndarray
    notes: tuple[str, ...]

    def borrowed(self, effect: np.ndarray) -> np.ndarray:
        """Errors of borrowed effects `(n, asked)`: `(borrowing coupons, n, asked)` float32, one part a coupon."""
        which = np.flatnonzero(self.error > 0)
        parts = np.zeros((which.size, *effect.shape), dtype=np.float32)
        for place, j in enumerate(which):
            parts[place, :, j] = self.error[j] * effect[:, j]
        return parts


def kinship(
    asked: Sequence[Coupon], names: Sequence[str], trained: Sequence[Coupon] | None, averages: np.ndarray, basket: float
) -> Kinship:
    """Relate coupons by their terms.

    Parameters
    ----------
    names
        Ids of the trial's coupons.
    trained
        Their terms, where known.
    averages
        `(trained,)` average uplift of each.
    basket
        A usual purchase, currency: what percent and fixed coupons are compared on.
    """
    weights = np.zeros((len(names), len(asked)))
    own, error = np.zeros(len(asked), dtype=bool), np.zeros(len(asked))
    said: dict[str, list[str]] = {}  # coupons of which the same is to be said, by what that is
    for j, coupon in enumerate(asked):
        known = names.index(coupon.id) if coupon.id in names else None
        if known is not None and (trained is None or _same(coupon, trained[known])):
            weights[known, j], own[j] = 1.0, True
            continue
        mix, words = _mix(coupon, names, trained, basket)
        weights[:, j] = mix
        used = np.flatnonzero(mix > 0)
        middle = float(mix @ averages)
        between = float(np.sqrt(mix @ (averages - middle) ** 2)) / max(abs(middle), 1e-12)
        least = UNKNOWN_ERROR if words else LEAST_ERROR
        error[j] = min(float(np.hypot(least, between)), 2.0)
        like = " and ".join(names[int(k)] for k in used)
        was = "on other terms" if known is not None else "not in the trial"
        note = f"{was}; taken to act like {like}{words}, with an error of {percent(error[j], 0)} of its effect on top"
        said.setdefault(note, []).append(coupon.id)
    return Kinship(weights, own, error, tuple(f"{_listed(ids)}: {note}" for note, ids in said.items()))


def _listed(ids: Sequence[str]) -> str:
    more = len(ids) - MOST_NAMED
    return ", ".join(ids[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _same(one: Coupon, two: Coupon) -> bool:
    keys = ("kind", "amount", "max_discount", "min_spend", "scope")
    return all(getattr(one, key) == getattr(two, key) for key in keys)


def _mix(
    coupon: Coupon, names: Sequence[str], trained: Sequence[Coupon] | None, basket: float
) -> tuple[np.ndarray, str]:
    """`(trained,)` weights, and words on what is not known."""
    everyone = np.full(len(names), 1.0 / len(names))
    if trained is None:
        return everyone, " (the model does not know the terms of its own coupons: give `train` their campaign file)"
    alike = [k for k, other in enumerate(trained) if (other.kind, other.scope) == (coupon.kind, coupon.scope)]
    words = ""
    if not alike:
        alike = [k for k, other in enumerate(trained) if other.kind == coupon.kind] or list(range(len(names)))
        words = ", the nearest by depth (no coupon of its kind and scope was tried)"
    depth = np.array([_depth(trained[k], basket) for k in alike])
    order = np.argsort(depth, kind="stable")
    # As `uplift` has it: each further unit of a discount moves less than the one before; constant outside what was tried.
    places, target = np.log1p(depth[order]), np.log1p(_depth(coupon, basket))
    mix = np.zeros(len(names))
    for position, i in enumerate(order):
        unit = np.zeros(order.size)
        unit[position] = 1.0
        mix[alike[i]] = np.interp(target, places, unit)
    if not mix.any():  # twins in depth: interpolation gave the weight to neither
        mix[alike[int(order[np.abs(places - target).argmin()])]] = 1.0
    return mix / mix.sum(), words


def _depth(coupon: Coupon, basket: float) -> float:
    """What the coupon takes off a usual purchase, currency."""
    terms = Discount.of(coupon, 5.0)
    flat = basket if terms.rate else 1.0
    return float(min(terms.rate * flat, terms.most) if terms.rate else terms.most)
