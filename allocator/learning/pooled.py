"""Models of what users do in each arm, whose coupons learn from one another as far as the trial shows that they are alike.

On the scale of the link (log odds of a purchase or a redemption, log of the expected spend) arm k has

    eta_k(x) = base + x . b + [k > 0] (mean + c s_k(x) + delta_k + x . (h + d_k))

so a coupon moves a heavy buyer's spend in proportion, all coupons share an effect (mean, h), more where the coupon
reaches the user (s, see `Reach`), and each has its own difference (delta, d). Every group of coefficients has a normal prior around 0 whose variance is estimated from the same
data (empirical Bayes by expectation-maximisation over a normal approximation of the posterior: MacKay 1992,
10.1162/neco.1992.4.3.415; Efron and Morris 1975, 10.1080/01621459.1975.10479864): what many small coefficients owe to
luck is shrunk away before anything is chosen by it. Spend has a variance in proportion to a power of its mean (a
quasi-likelihood: Wedderburn 1974, 10.1093/biomet/61.3.439), so that a few heavy buyers do not decide alone.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from allocator.learning.logistic import GROUPS, Logistic
from uplift import OutcomeKind, Schema, Trial

POWER = 1.5  # of the mean in the variance of spend: a random number of purchases of random size (Tweedie 1984)
ROUNDS, FIRST_ROUNDS = 14, 3  # of expectation-maximisation; the first ones find the spend without a coupon
FLATTENED, MOST_REACH = 0.25, 3.0
# Standard deviation of what a coupon changes of the log of spend where nobody redeems it: then it is no more than a message.
MESSAGE = 0.05
MOST_LOG = 30.0
STEPS, FIRST_STEPS, LAST_STEPS = 2, 8, 3  # Newton's, in a round, in the first one, and without a group
SETTLED = 0.02  # relative change of every variance
LONGEST = 1.0  # largest change of a coefficient in a step
PRIOR_WEIGHT, PRIOR_VARIANCE = 2.0, 1e-3  # each variance is estimated as if so many more coefficients had this one
FREE = 1e4  # variance of what is not shrunk
MEAN = "mean"  # of all coupons' effects: its variance is given, not estimated
START = {MEAN: FREE, "base": 1.0, "delta": 0.01, "shared": 0.005, "own": 0.001}


@dataclass(frozen=True, eq=False)
class Reach:
    """How far a coupon reaches a user: sqrt(r d / u) (u / w)^(1/4).

    r is the chance of redemption, d its discount, w the user's expected spend without a coupon and u its mean. Nobody is
    moved by a coupon that nobody redeems, and each further unit of a discount moves less than the one before. Who redeems
    is seen of every user who got a coupon: no control is needed, so it is known far better than any effect, and tells
    effects apart before their noise does. It also makes coupons that hardly anyone redeems a second control group.

    Attributes
    ----------
    redemption
        P(redeemed if issued), the first coupon in the place of control.
    discounts
        `(coupons,)` of a redemption, currency.
    intercept, slope
        Log of the expected spend without a coupon, on the encoded features `(width,)`.
    usual
        Mean of that spend, currency.
    """

    redemption: Logistic
    discounts: np.ndarray
    intercept: float
    slope: np.ndarray
    usual: float

    def of(self, features: Any, x: np.ndarray) -> np.ndarray:
        """`(n, coupons)` of users whose encoded features are `x` `(n, width)`."""
        made = self.redemption.predict(features)
        chances = np.column_stack([made.control, made.treated])[:, : self.discounts.size]
        spend = np.exp(np.minimum(self.intercept + x @ self.slope, MOST_LOG))
        light = (self.usual / np.maximum(spend, 1e-9)) ** FLATTENED
        return np.asarray(np.minimum(np.sqrt(chances * self.discounts / self.usual) * light[:, None], MOST_REACH))


@dataclass(frozen=True, eq=False)
class Spending(Logistic):
    """log expected spend in arm a = intercept[a] + x . slope[a] + effect s_a, for the whole trial and without each group.

    Attributes
    ----------
    reach
        Where s comes from; `None`: the trial did not say who redeemed.
    effect
        `(1 + groups,)`.
    """

    reach: Reach | None
    effect: np.ndarray

    def encoded(self, features: Any) -> np.ndarray:
        """`(n, width + coupons)`: the encoded features, then the reach of each coupon."""
        x = super().encoded(features)
        reach = np.zeros((len(x), self.intercepts.shape[1] - 1)) if self.reach is None else self.reach.of(features, x)
        return np.hstack([x, reach])

    def _chances(self, x: np.ndarray, fit: int) -> np.ndarray:
        width = self.slopes.shape[2]
        odds = self.intercepts[fit] + x[:, :width] @ self.slopes[fit].T
        odds[:, 1:] += self.effect[fit] * x[:, width:]
        return np.asarray(np.exp(np.minimum(odds, MOST_LOG)))


@dataclass(frozen=True)
class PooledLearner:
    """Fits `Logistic` to a binary outcome.

    Attributes
    ----------
    with_control
        Whether arm 0 is a control; else all arms are coupons (redemption is seen of those who got one).
    """

    name: str
    with_control: bool = True

    def fit(self, trial: Trial, *, seed: int, groups: int = GROUPS) -> Logistic:
        """Fit on the trial, and with the same variances on all but each of `groups` parts of it."""
        schema = Schema.fit(trial.features)
        x = schema.encode(trial.features).astype(np.float64)
        problem = _Problem.of(trial, x, self.with_control)
        state = problem.estimate(problem.start(), ROUNDS)
        fits = _refitted(problem, state, seed, groups)
        none = np.zeros((groups, trial.n_coupons))
        made = Logistic(schema, np.stack([fit[0] for fit in fits]), np.stack([fit[1] for fit in fits]), none)
        return dataclasses.replace(made, centers=made.moved(x, trial.weight))


def fit_spending(
    money: Trial, redemption: Logistic | None, discounts: np.ndarray | None, *, seed: int, groups: int = GROUPS
) -> Spending:
    """Fit expected spend in each arm.

    Parameters
    ----------
    money
        A trial whose outcome is spend.
    redemption
        Learned from the same users; `None` where the trial does not say who redeemed.
    discounts
        `(coupons,)` mean discount of a redemption, currency; `None` or NaN: not known, and taken as all alike.
    """
    schema = Schema.fit(money.features)
    x = schema.encode(money.features).astype(np.float64)
    problem = _Problem.of(money, x, True)
    state = problem.estimate(problem.start(), ROUNDS if redemption is None else FIRST_ROUNDS)
    reach = None
    if redemption is not None:
        intercepts, slopes, _ = problem.plain(state)
        taken = np.ones(money.n_coupons) if discounts is None else discounts
        known = taken[np.isfinite(taken)]
        taken = np.where(np.isfinite(taken), taken, known.mean() if known.size else 1.0)
        without = np.exp(np.minimum(intercepts[0] + x @ slopes[0], MOST_LOG))
        usual = float(np.average(without, weights=money.weight))
        reach = Reach(redemption, np.maximum(taken, 1e-9), float(intercepts[0]), slopes[0], usual)
        every = np.column_stack([np.zeros(len(money)), reach.of(money.features, x)])
        problem = _Problem.of(money, x, True, every[np.arange(len(money)), money.arm])
        state = problem.estimate(dataclasses.replace(state, variance=state.variance | {MEAN: MESSAGE**2}), ROUNDS)
    fits = _refitted(problem, state, seed, groups)
    intercepts, slopes, effects = (np.stack([np.asarray(fit[j]) for fit in fits]) for j in range(3))
    none = np.zeros((groups, money.n_coupons))
    made = Spending(schema, intercepts, slopes, none, reach, effects)
    return dataclasses.replace(made, centers=made.moved(made.encoded(money.features), money.weight))


def _refitted(problem: _Problem, state: _State, seed: int, groups: int) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Return the plain coefficients of the whole, and without each group at the same variances."""
    # Drawn without regard to arms and outcomes: groups that are alike in these would hide the error of the averages.
    part = np.random.default_rng([seed, 16]).permutation(problem.outcome.size) % max(groups, 1)
    fits = [problem.plain(state)]
    return fits + [problem.plain(problem.solve(part != g, state, LAST_STEPS)) for g in range(groups)]


@dataclass(frozen=True, eq=False)
class _State:
    """Coefficients with their posterior variances, the groups' prior variances, and the dispersion of the outcome."""

    beta: np.ndarray
    spread: np.ndarray
    variance: dict[str, float]
    dispersion: float


@dataclass(frozen=True, eq=False)
class _Problem:
    """A trial laid out by arm: `rows[k]` are arm k's users, `local[k]` their `(n_k, 1 + width + 1)` columns: 1, features, reach."""

    rows: list[np.ndarray]
    local: list[np.ndarray]
    outcome: np.ndarray
    weight: np.ndarray
    binary: bool
    center: np.ndarray
    scale: float
    places: dict[str, slice] = field(repr=False)
    maps: list[np.ndarray] = field(repr=False)  # arm's own coefficients = map @ all coefficients

    @classmethod
    def of(cls, trial: Trial, x: np.ndarray, with_control: bool, reach: np.ndarray | None = None) -> _Problem:
        """Lay out a trial; `reach` `(n,)` is that of the coupon that each user got, 0 in control."""
        weight = trial.weight * trial.propensities().mean(axis=0)[trial.arm] / trial.received()
        weight = weight / weight.mean()
        center = np.average(x, axis=0, weights=weight)
        table = np.column_stack([np.ones(len(x)), x - center, np.zeros(len(x)) if reach is None else reach])
        rows = [np.flatnonzero(trial.arm == k) for k in range(trial.n_arms)]
        binary = trial.kind is OutcomeKind.BINARY
        scale = 1.0 if binary else max(float(np.average(trial.outcome, weights=weight)), 1e-12)
        places, maps = _layout(x.shape[1], trial.n_arms, with_control)
        return cls(
            rows, [table[r] for r in rows], trial.outcome / scale, weight, binary, center, scale, places, maps
        )  # fmt: skip

    def start(self) -> _State:
        """Return the average outcome, whatever the user and arm."""
        size = self.maps[0].shape[1]
        mean = float(np.average(self.outcome, weights=self.weight))
        beta = np.zeros(size)
        beta[0] = np.log(mean / (1.0 - mean)) if self.binary else np.log(mean)
        return _State(beta, np.zeros(size), {name: START[name] for name in self.places}, 1.0)

    def estimate(self, state: _State, rounds: int) -> _State:
        """Alternate between the coefficients at given variances and the variances at given coefficients."""
        everyone = np.ones(self.outcome.size, dtype=bool)
        for turn in range(rounds):
            state = self.solve(everyone, state, STEPS if turn else FIRST_STEPS)
            variance = {
                name: float(
                    ((state.beta[place] ** 2 + state.spread[place]).sum() + PRIOR_WEIGHT * PRIOR_VARIANCE)
                    / (place.stop - place.start + PRIOR_WEIGHT)
                )
                for name, place in self.places.items()
                if name != MEAN
            }
            moved = max(abs(np.log(variance[name] / state.variance[name])) for name in variance)
            state = dataclasses.replace(state, variance=state.variance | variance)
            if moved < SETTLED:
                break
        return state

    def solve(self, used: np.ndarray, state: _State, steps: int) -> _State:
        """Newton's steps (Fisher's information) toward the most likely coefficients at the state's variances."""
        precision = np.full(state.beta.size, 1.0 / FREE)
        for name, place in self.places.items():
            precision[place] = 1.0 / state.variance[name]
        beta, dispersion = state.beta, state.dispersion
        cut = [used[rows] for rows in self.rows]
        parts = [(table[c], rows[c]) for table, rows, c in zip(self.local, self.rows, cut, strict=True)]
        for _ in range(steps):
            gradient, information, error = -precision * beta, np.diag(precision), 0.0
            for (table, rows), chosen in zip(parts, self.maps, strict=True):
                mean, slope, worth = self._moments(table @ (chosen @ beta))
                left, w = self.outcome[rows] - mean, self.weight[rows]
                gradient += chosen.T @ (table.T @ (w * left * worth)) / dispersion
                gram = (table * (w * slope * worth)[:, None]).T @ table / dispersion
                information += chosen.T @ gram @ chosen
                error += float((w * left**2 * worth / np.maximum(slope, 1e-12)).sum())
            step = np.linalg.solve(information, gradient)
            beta = beta + step * min(1.0, LONGEST / max(float(np.abs(step).max()), 1e-12))
            if not self.binary:
                dispersion = max(error / float(self.weight[used].sum()), 1e-9)
        return _State(beta, np.diag(np.linalg.inv(information)), state.variance, dispersion)

    def _moments(self, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean of the outcome, its change with eta, and that change over the variance."""
        if self.binary:
            chance = 1.0 / (1.0 + np.exp(-np.clip(eta, -30.0, 30.0)))
            return chance, chance * (1.0 - chance), np.ones_like(chance)
        mean = np.exp(np.clip(eta, -8.0, 8.0))
        return mean, mean, mean ** (1.0 - POWER)

    def plain(self, state: _State) -> tuple[np.ndarray, np.ndarray, float]:
        """Return intercepts `(arms,)`, slopes `(arms, width)` on the encoded features, and the effect of reach."""
        own = np.stack([chosen @ state.beta for chosen in self.maps])
        slopes, effect = own[:, 1:-1], float(own[-1, -1])
        intercepts = own[:, 0] - slopes @ self.center
        if self.binary:
            return intercepts, slopes, effect
        # A variance that grows faster than the mean trades the total for precision; one factor gives the total back.
        expected = sum(
            float(self.weight[rows] @ np.exp(np.clip(table @ coefficients, -8.0, 8.0)))
            for rows, table, coefficients in zip(self.rows, self.local, own, strict=True)
        )
        total = float(self.weight @ self.outcome)
        return intercepts + np.log(self.scale * total / expected), slopes, effect


def _layout(width: int, arms: int, with_control: bool) -> tuple[dict[str, slice], list[np.ndarray]]:
    """Return where each shrunk group of coefficients lies, and each arm's map from all coefficients to its own."""
    coupons = arms - 1 if with_control else arms
    at = width + 1 + 2 * with_control  # after the intercept, the users' slopes, the mean effect and what reach adds
    places = {"base": slice(1, width + 1), "delta": slice(at, at + coupons)}
    at += coupons
    if with_control:
        places[MEAN] = slice(width + 1, width + 2)
        places["shared"] = slice(at, at + width)
        at += width
    places["own"] = slice(at, at + coupons * width)
    maps = []
    for arm in range(arms):
        chosen = np.zeros((width + 2, at + coupons * width))
        chosen[0, 0] = 1.0
        chosen[1:-1, 1 : width + 1] = np.eye(width)
        coupon = arm - with_control
        if coupon >= 0:
            chosen[0, places["delta"].start + coupon] = 1.0
            first = places["own"].start + coupon * width
            chosen[1:-1, first : first + width] = np.eye(width)
            if with_control:
                chosen[0, width + 1] = 1.0
                chosen[-1, width + 2] = 1.0
                chosen[1:-1, places["shared"]] = np.eye(width)
        maps.append(chosen)
    return places, maps
