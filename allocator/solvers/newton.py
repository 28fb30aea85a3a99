"""Projected Newton on the smoothed dual (Bertsekas, SIAM J. Control Optim. 20(2), 1982, doi:10.1137/0320018)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from allocator.clock import working_time
from allocator.solvers.piece import Curvature, Piece
from allocator.solvers.quadratic import minimise_listed, minimise_quadratic

ENOUGH = 0.02  # stop when a step promises less than this share of tau for each free price
ENOUGH_OF_MANY = 0.1  # the same with very many limits: a pass costs more, and the next temperature goes on
MOST_STEPS = 40
AT_LEAST = 1.0  # users near a tie, for the curvature of a price to mean something
NEGLIGIBLE = 30.0  # offers too many or too few in a limit; where curvature says nothing, such a rest is not worth steps
NEGLIGIBLE_OF_MANY = 0.5  # the same with very many limits: they are small, and all their rests together are not
SHORTER = (1.0, 0.5, 0.2)  # of a Newton step, where it leads too far
FLAT = 1e-12  # curvature below this share of the largest counts as none


@dataclass(frozen=True, eq=False)
class Descent:
    """Where Newton's method ended at one temperature.

    Attributes
    ----------
    prices, usage
        `(n_limits,)`: the prices, and each limit's expected usage there (fixed choices not counted).
    hessian
        `(n_limits, n_limits)`: see `kernels.smoothing`.
    free
        `(n_limits,)` bool: prices that are not held at zero.
    informative
        `(n_limits,)` bool: those of them that some users are near a tie in, so that the curvature means something.
    pressed
        `(n_limits,)` bool: those of them that are held at an edge of the box.
    """

    prices: np.ndarray
    value: float
    usage: np.ndarray
    hessian: Curvature
    free: np.ndarray
    informative: np.ndarray
    pressed: np.ndarray


def minimise(
    piece: Piece,
    prices: np.ndarray,
    tau: float,
    scale: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    *,
    floor: float = -np.inf,
    deadline: float = np.inf,
) -> Descent:
    """Minimise the smoothed dual at temperature `tau` (currency) over a box, from `prices` in it.

    `scale` `(n_limits,)` is the typical size of each limit's number for an offer: a step is cut where it would move a
    reduced value by more than a trust radius. Stops early once the dual falls below `floor` (no plan is that bad, so no
    plan exists), and at `deadline` (`working_time`).
    """
    trust, damping = 10.0 * tau, 1e-6
    neglected, enough = (NEGLIGIBLE_OF_MANY, ENOUGH_OF_MANY) if piece.folding.is_listed else (NEGLIGIBLE, ENOUGH)
    value, used, hessian = piece.soft(prices, tau)
    for _ in range(MOST_STEPS):
        gradient, free = slope(piece, prices, used)
        near = tau * hessian.diagonal() >= AT_LEAST * scale**2
        pressed = free & (((prices <= low) & (gradient > 0)) | ((prices >= high) & (gradient < 0)))
        moving = free & ~pressed & (near | (np.abs(gradient) > neglected * scale))
        gradient = np.where(moving, gradient, 0.0)
        target = newton_target(hessian, gradient, moving, damping, prices, low, high, trust / scale)
        promised = -float(gradient @ (target - prices))
        if promised <= enough * tau * max(1, int(moving.sum())) or value < floor or working_time() > deadline:
            break
        candidate, candidate_used, candidate_hessian = piece.soft(target, tau)
        if candidate <= value - 0.05 * promised:
            if candidate <= value - 0.3 * promised:
                trust, damping = trust * 3.0, max(1e-9, damping / 10.0)
            prices, value, used, hessian = target, candidate, candidate_used, candidate_hessian
        else:
            trust = min(trust, float((np.abs(target - prices) * scale).max())) / 4.0
            damping = min(1.0, damping * 10.0)
            if trust < 1e-9 * tau:
                break
    return Descent(prices, value, used, hessian, free, free & near, pressed)


@dataclass(frozen=True, eq=False)
class Sharp:
    """Where Newton steps on the dual itself ended.

    Attributes
    ----------
    prices, value
        The prices, and the dual there, currency.
    used
        `(n_limits,)`: each limit's usage there (fixed choices not counted).
    step
        `(n_limits,)`: the next step, were there no box.
    promised
        By how much it would lower the dual by the model: the dual is about half that above its minimum.
    stuck
        Whether no shorter step lowers the dual either: few users make it one with corners.
    """

    prices: np.ndarray
    value: float
    used: np.ndarray
    step: np.ndarray
    promised: float
    stuck: bool = False


def sharpened(
    piece: Piece,
    prices: np.ndarray,
    curvature: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    enough: float,
    steps: int,
    among: np.ndarray,
) -> Sharp:
    """Minimise the dual itself (not smoothed) over a box by Newton steps with a curvature that was estimated elsewhere.

    Only the prices `among` `(n_limits,)` bool move. Ends where the next step promises less than `enough` (currency), after
    so many `steps`, or where they do not go down.
    """
    nowhere = np.full(prices.size, np.inf)
    value, used, _ = piece.exact(prices)
    while True:
        gradient, free = slope(piece, prices, used)
        free &= among
        gradient = np.where(free, gradient, 0.0)
        step = newton_target(curvature, gradient, free, 1e-6, prices, -nowhere, nowhere, nowhere) - prices
        here = Sharp(prices, value, used, step, -float(gradient @ step))
        if here.promised <= enough or steps == 0:
            return here
        steps -= 1
        move, promised = step, here.promised
        if ((prices + step < low) | (prices + step > high)).any():
            pressed = free & (((prices <= low) & (gradient > 0)) | ((prices >= high) & (gradient < 0)))
            move = newton_target(curvature, gradient, free & ~pressed, 1e-6, prices, low, high, nowhere) - prices
            promised = -float(gradient @ move)
        for share in SHORTER if promised > 0 else ():
            found, usage, _ = piece.exact(prices + share * move)
            if found < value - 0.1 * share * promised:
                break
        else:
            return dataclasses.replace(here, stuck=True)
        prices, value, used = prices + share * move, found, usage


def slope(piece: Piece, prices: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradient of the dual, and which prices are free to move.

    At price zero the dual has a kink: the slope to the right is `at_most - used`, to the left `at_least - used`. The
    price stays where neither side goes down.
    """
    rise = piece.folding.at_most - used
    fall = piece.folding.at_least - used
    gradient = np.where(prices > 0, rise, np.where(prices < 0, fall, np.where(rise < 0, rise, fall)))
    free = (prices != 0) | (rise < 0) | (fall > 0)
    return np.where(free, gradient, 0.0), free


def newton_target(
    hessian: Curvature,
    gradient: np.ndarray,
    moving: np.ndarray,
    damping: float,
    prices: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    reach: np.ndarray,
) -> np.ndarray:
    """Return where the quadratic model is least: between `low` and `high`, within `reach`, no price across zero.

    A little Levenberg damping on the diagonal makes it strictly convex.
    """
    index = np.flatnonzero(moving)
    if index.size == 0:
        return prices
    here, slope = prices[index], gradient[index]
    positive = (here > 0) | ((here == 0) & (slope < 0))
    least = np.maximum(np.where(positive, 0.0, -np.inf), np.maximum(low[index], here - reach[index]))
    most = np.minimum(np.where(positive, np.inf, 0.0), np.minimum(high[index], here + reach[index]))
    if isinstance(hessian, np.ndarray):
        scaled, size = unit_scaled(hessian, index)
        scaled[np.diag_indices(index.size)] += damping + 1e-12
        step = minimise_quadratic(scaled, slope / size, (least - here) * size, (most - here) * size) / size
    else:
        diagonal = hessian.diagonal()[index]
        flat, size = _flat(diagonal)
        sparse = hessian.scaled(index, np.where(flat, 0.0, 1.0 / size), damping + 1e-12)
        step = minimise_listed(sparse, slope / size, (least - here) * size, (most - here) * size) / size
    target = prices.copy()
    target[index] = np.clip(here + step, least, most)
    return target


def unit_scaled(hessian: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the curvature in these prices scaled to a unit diagonal, and the scale of each price.

    Limits in euros and in pieces differ by orders of magnitude. A price with no curvature beside the others (nobody is
    near a tie in its limit) has only rounding noise in its row: it is set apart from the others, with a zero row.
    """
    block = hessian[np.ix_(index, index)]
    flat, size = _flat(np.diag(block))
    scaled = block / size[:, None] / size[None, :]
    scaled[flat, :] = 0.0
    scaled[:, flat] = 0.0
    return scaled, size


def _flat(diagonal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which curvatures count as none, and the scale of each price."""
    least = FLAT * float(diagonal.max(initial=0.0))
    flat = diagonal <= least
    return flat, np.sqrt(np.where(flat, least if least > 0 else 1.0, diagonal))
