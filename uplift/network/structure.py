"""How coupons of known terms share what is learned: contact, then steps of depth within each group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uplift.trial import Terms


@dataclass(frozen=True)
class Structure:
    """Coupon k's effect = contact + sum over the steps i of `share[i][k]` x `gap[i]` x exp(sensitivity + taste + a_i).

    Step i leads from the next smaller depth of its group (or nothing) to coupon i's.

    Attributes
    ----------
    group
        `(coupons,)` category of each step.
    gap
        `(coupons,)` length of each step on the scale of depth.
    share
        `(steps, coupons)` part of each step that each coupon takes; for the coupons of the trial 0 or 1.
    """

    group: tuple[int, ...]
    gap: tuple[float, ...]
    share: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, terms: Terms) -> Structure:
        """Lay out the steps of a trial's coupons."""
        scale = float(terms.depth.max())
        gaps = []
        for k, group in enumerate(terms.group):
            below = [d for d, g in zip(terms.depth, terms.group, strict=True) if g == group and d < terms.depth[k]]
            start = _scaled(max(below), scale) if below else 0.0
            twins = [i for i in range(k) if terms.group[i] == group and terms.depth[i] == terms.depth[k]]
            # A coupon of the same group and depth as an earlier one adds no step: it is the same coupon by its terms.
            gaps.append(0.0 if twins else _scaled(float(terms.depth[k]), scale) - start)
        return cls(tuple(int(g) for g in terms.group), tuple(gaps), _as_tuples(steps_taken(terms, terms)))


def _scaled(depth: float, scale: float) -> float:
    # Each further unit of a discount moves less than the one before (Weber); 1 at the deepest coupon.
    return float(np.log1p(depth) / np.log1p(scale))


def _as_tuples(matrix: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(value) for value in row) for row in matrix)


def steps_taken(trained: Terms, asked: Terms) -> np.ndarray:
    """`(steps, asked coupons)` part of each trained step that an asked coupon takes.

    Between two trained depths a part of the step between them; beyond the deepest the last step goes on at its slope.
    """
    scale = float(trained.depth.max())
    share = np.zeros((len(trained), len(asked)))
    for k in range(len(asked)):
        mine = np.flatnonzero(trained.group == asked.group[k])
        if mine.size == 0:
            raise ValueError(f"group {asked.group[k]} of a coupon was not in the trial")
        target = _scaled(float(asked.depth[k]), scale)
        start = 0.0
        order = mine[np.argsort(trained.depth[mine], kind="stable")]
        for i in order:
            end = _scaled(float(trained.depth[i]), scale)
            if end > start:
                deepest = trained.depth[i] == trained.depth[mine].max()
                part = (target - start) / (end - start)
                share[i, k] = max(part, 0.0) if deepest else float(np.clip(part, 0.0, 1.0))
            start = end
    return share


def blend(trained: Terms, asked: Terms) -> np.ndarray:
    """`(trained coupons, asked coupons)` weights that read an asked coupon's effect off its trained neighbours'.

    For estimates that have no notion of depth; linear on the scale of depth, constant outside the trained range.
    """
    scale = float(trained.depth.max())
    weights = np.zeros((len(trained), len(asked)))
    for k in range(len(asked)):
        mine = np.flatnonzero(trained.group == asked.group[k])
        if mine.size == 0:
            raise ValueError(f"group {asked.group[k]} of a coupon was not in the trial")
        order = mine[np.argsort(trained.depth[mine], kind="stable")]
        places = np.array([_scaled(float(depth), scale) for depth in trained.depth[order]])
        target = _scaled(float(asked.depth[k]), scale)
        for position, i in enumerate(order):
            unit = np.zeros(order.size)
            unit[position] = 1.0
            weights[i, k] = np.interp(target, places, unit)
    return weights
