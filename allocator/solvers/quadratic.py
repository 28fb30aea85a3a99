"""A strictly convex quadratic over a box, by an active-set method that goes down with every step.

Source: Stark & Parker, *Bounded-variable least-squares: an algorithm and applications*, Comput. Stat. 10, 1995.
"""

from __future__ import annotations

import numpy as np

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
