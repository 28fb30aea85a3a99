"""A strictly convex quadratic over a box, by an active-set method that goes down with every step.

Source: Stark & Parker, *Bounded-variable least-squares: an algorithm and applications*, Comput. Stat. 10, 1995.
"""

from __future__ import annotations

import numpy as np

from allocator.executors.terms import Terms

MOST_TURNS = 50  # of conjugate gradients, each between two changes of what is held at the edges
MOST_PRODUCTS = 60  # in one turn
CLOSE = 1e-3  # of the first gradient, which is as much as a Newton step needs
ROUNDING = 1e-10  # of the largest gradient


def minimise_quadratic(hessian: np.ndarray, gradient: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the `x` between `low` and `high` that minimises gradient . x + x . hessian x / 2, `(n,)`; 0 is in the box.

    Where many prices of overlapping limits compete for the same usage, which of them stay above zero is settled here, by
    small solves, rather than by passes over the data.
    """
    x = np.zeros(gradient.size)
    free = (low < 0) & (high > 0)
    tolerance = ROUNDING * float(np.abs(gradient).max(initial=0.0))
    for _ in range(10 * gradient.size + 50):
        index = np.flatnonzero(free)
        if index.size:
            fixed = np.where(free, 0.0, x)
            rest = gradient[index] + hessian[index] @ fixed
            step = -np.linalg.solve(hessian[np.ix_(index, index)], rest) - x[index]
            edge = np.where(step > 0, high[index], low[index])
            share = np.divide(edge - x[index], step, out=np.full(index.size, np.inf), where=step != 0)
            first = int(share.argmin())
            if share[first] < 1.0:
                x[index] += max(0.0, float(share[first])) * step
                x[index[first]] = edge[first]
                free[index[first]] = False
                continue
            x[index] += step
        slope = gradient + hessian @ x
        gain = np.where(free, 0.0, np.maximum(np.where(x < high, -slope, 0.0), np.where(x > low, slope, 0.0)))
        best = int(gain.argmax()) if gain.size else 0
        if not gain.size or gain[best] <= tolerance:
            break
        free[best] = True
    return np.clip(x, low, high)


def minimise_listed(hessian: Terms, gradient: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Do what `minimise_quadratic` does, nearly, for thousands of variables and a `hessian` of unit diagonal that is a list of terms.

    Conjugate gradients among those off the edges; a step is cut off at all edges at once, and kept as far as it goes down
    (projected search: More & Toraldo, SIAM J. Optim. 1(1), 1991, doi:10.1137/0801008). Each turn lowers the model.
    """
    x, rest = np.zeros(gradient.size), gradient.copy()  # the point, and the slope there
    target = CLOSE * float(np.linalg.norm(gradient))
    for _ in range(MOST_TURNS):
        held = ((x <= low) & (rest >= 0)) | ((x >= high) & (rest <= 0))
        if np.linalg.norm(np.where(held, 0.0, rest)) <= target:
            break
        before = x
        for direction in (_conjugate(hessian, rest, ~held, low - x, high - x), np.where(held, 0.0, -rest)):
            x, rest = _searched(hessian, x, rest, direction, low, high)
            if x is not before:
                break
        else:
            break
    return x


def _conjugate(hessian: Terms, slope: np.ndarray, free: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return a step among the `free` that nearly minimises the model; one that leads far out of the box is not refined."""
    step, rest = np.zeros(slope.size), np.where(free, -slope, 0.0)
    along, square = rest.copy(), float(rest @ rest)
    goal = 0.01 * square
    for _ in range(MOST_PRODUCTS):
        product = np.where(free, hessian @ along, 0.0)
        bend = float(along @ product)
        if bend <= 0.0:
            break
        size = square / bend
        step, rest = step + size * along, rest - size * product
        before, square = square, float(rest @ rest)
        if square <= goal or np.count_nonzero((step < low) | (step > high)) > 0.5 * np.count_nonzero(free):
            break
        along = rest + square / before * along
    return step


def _searched(
    hessian: Terms, x: np.ndarray, slope: np.ndarray, direction: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first of ever shorter steps, cut off at the edges, that goes down enough, and the slope there."""
    length = 1.0
    for _ in range(30):
        move = np.clip(x + length * direction, low, high) - x
        product = hessian @ move
        gain = float(slope @ move)
        if gain < 0 and gain + 0.5 * float(move @ product) <= 0.1 * gain:
            return np.clip(x + move, low, high), slope + product
        length *= 0.5
    return x, slope
