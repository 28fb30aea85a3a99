"""A made-up market whose truth is known: every user's answer to every coupon, in expectation and in every draw.

Users differ in how often they visit, what they spend, what they buy, how they read, like and redeem coupons, and in
whom contacts annoy. Their history, a randomised trial and the campaign are one process in successive periods of 28 days
(`allocator.kernels.market`). It shares no code with `uplift` and `cf`, and answers through visit rates and lognormal
baskets, not through log odds: estimates are tested on what they do not assume.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from allocator.campaign.terms import Coupon
from allocator.errors import UsageError
from allocator.kernels import draws
from allocator.kernels import history as past
from allocator.kernels import market as kernel
from allocator.kernels.blocks import map_blocks
from allocator.simulation.catalogue import Catalogue, draw_catalogue
from allocator.simulation.population import Population, draw_population
from allocator.simulation.settings import PERIOD_DAYS, Settings, calibration
from allocator.simulation.terms import DEFAULT_COUPONS, scope_masks, term_table
from allocator.simulation.truth import Outcomes, Trial, Truth

TRIAL = -2  # the trial's period
MOST_USERS = 1 << 40
MOST_DAYS = 366  # of a wave
NOTHING = -1  # the arm of users without a coupon


@dataclass(frozen=True, eq=False)
class DrawnMarket:
    """Users, coupons and how they meet. Make one with `Market.draw`; the constructor trusts its arguments.

    Attributes
    ----------
    seed, settings, coupons, population, catalogue
        What it was drawn from.
    period
        The campaign's period: 0, or more after `after`.
    contacts, bought, stocked
        `(n_users,)` coupons received lately (float64), whether the user bought and whether they redeemed in the period
        before (bool).
    days
        Of the campaign's periods, 0 and later; see `in_waves`.
    """

    seed: int
    settings: Settings
    coupons: tuple[Coupon, ...]
    population: Population
    catalogue: Catalogue
    terms: np.ndarray
    masks: np.ndarray
    affinity: np.ndarray
    trial_arm: np.ndarray
    n_lines: np.ndarray
    seen_before: np.ndarray
    seen_now: np.ndarray
    trial_outcome: np.ndarray
    period: int
    contacts: np.ndarray
    bought: np.ndarray
    stocked: np.ndarray
    days: int = PERIOD_DAYS

    @classmethod
    def draw(
        cls,
        users: int,
        seed: int = 0,
        *,
        settings: Settings | None = None,
        coupons: Sequence[Coupon] = DEFAULT_COUPONS,
        threads: int | None = None,
    ) -> Self:
        """Draw a market; the same arguments give the same one, whatever the threads.

        Parameters
        ----------
        users
            How many; the first m users of a larger market are those of a smaller one.
        settings
            Assumptions; by default those of `Settings()`. `Settings(odd=0.8)` is a mis-specified market.
        coupons
            Terms, such as `load_campaign(path).coupon`; each needs a kind and an amount.

        Raises
        ------
        UsageError
            Where there are no users or coupons, or a coupon's terms cannot be simulated.
        """
        if not 1 <= users <= MOST_USERS:
            raise UsageError(f"users is {users:,}; a market needs 1 at least")
        if not coupons:
            raise UsageError("a market needs coupons; give one at least")
        settings = Settings() if settings is None else settings
        table, masks = term_table(coupons, seed), scope_masks(coupons)
        population = draw_population(users, seed, settings, threads)
        affinity = (population.tastes @ masks.T.astype(np.float32)).astype(np.float64)
        affinity[:, masks.all(axis=1)] = 1.0  # exactly: the kernels tell a whole scope by it
        rng = np.random.default_rng([seed, 604])
        chosen = rng.random(users) < settings.trial_share
        trial_arm = np.where(chosen, rng.integers(NOTHING, len(coupons), users), -2).astype(np.int16)
        draft = cls(
            seed,
            settings,
            tuple(coupons),
            population,
            draw_catalogue(seed),
            table,
            masks,
            affinity,
            trial_arm,
            np.zeros(users, np.int64),
            np.zeros((users, past.N_SEEN)),
            np.zeros((users, past.N_SEEN)),
            np.zeros((users, 3)),
            0,
            population.contacts,
            np.zeros(users, bool),
            np.zeros(users, bool),
        )
        return draft._walked(threads)

    @property
    def n_users(self) -> int:
        """How many users there are; `user_id` is their row."""
        return len(self.population)

    @property
    def coupon_ids(self) -> tuple[str, ...]:
        """Names of the coupons, in the order of the arms."""
        return tuple(coupon.id for coupon in self.coupons)

    @property
    def first_period(self) -> int:
        """The history's first period."""
        return -self.settings.periods

    def first_day(self, period: int) -> datetime.date:
        """Return the first day of a period; the campaign's is period 0."""
        return self.settings.start + datetime.timedelta(days=(self.days if period > 0 else PERIOD_DAYS) * period)

    def in_waves(self, days: int) -> Self:
        """Return the market with campaign periods of so many days instead of 28: visits in proportion, what tires by the calendar.

        What a purchase and a redemption change in the next period (habit, forward buying) they change in one of that length.
        Raises `UsageError` unless `days` is 1 to 366.
        """
        if not 1 <= days <= MOST_DAYS:
            raise UsageError(f"days is {days}; a wave has 1 to {MOST_DAYS}")
        return dataclasses.replace(self, days=days)

    @cached_property
    def truth(self) -> Truth:
        """What each coupon does to each user in the current period, in expectation."""
        n, k = self.affinity.shape
        without, with_ = np.empty((n, kernel.N_EXPECTED)), np.empty((n, k, kernel.N_EXPECTED))

        def block(low: int, high: int) -> None:
            kernel.expect(*self._world(), without, with_, low, high)

        map_blocks(block, n)
        return Truth(
            without[:, kernel.P_BUY],
            with_[:, :, kernel.P_BUY],
            without[:, kernel.SPEND],
            with_[:, :, kernel.SPEND],
            with_[:, :, kernel.P_REDEEM],
            with_[:, :, kernel.DISCOUNT],
            without[:, kernel.LATER],
            with_[:, :, kernel.LATER],
            self.settings.margin,
            self.settings.contact_cost,
        )

    def shock_of(self, run: int) -> float:
        """Return the factor on redemption that all users share in a run: lognormal, mean 1."""
        spread = np.sqrt(np.log1p(self.settings.shock**2))
        z = draws.normal(draws.run_key(self.seed + 1, run), self.period)
        return float(np.exp(spread * z - 0.5 * spread**2))

    def outcomes(self, arm: np.ndarray, run: int = 0, *, shock: float | None = None) -> Outcomes:
        """Run the campaign once.

        Parameters
        ----------
        arm
            `(n_users,)` integer: the coupon that each user gets, -1 for none.
        run
            Which luck: a user has the same luck in the same run whatever the arm, so that two plans run alike are
            paired, and their difference is what the plans change.
        shock
            The factor on redemption; by default that of the run.

        Raises
        ------
        UsageError
            Where `arm` has another shape, or names a coupon that does not exist.
        """
        arm = self._arms(arm)
        shock = self.shock_of(run) if shock is None else float(shock)
        if not (0.0 <= shock < np.inf):
            raise UsageError(f"shock is {shock:g}; it must be 0 or more")
        n = self.n_users
        visits, spend, discount, later = np.empty(n, np.int32), np.empty(n), np.empty(n), np.empty(n)
        key, users = draws.run_key(self.seed, run + 1), np.arange(n, dtype=np.int64)

        def block(low: int, high: int) -> None:
            kernel.draw(*self._world(), shock, arm, key, self.period, users, visits, spend, discount, later, low, high)

        map_blocks(block, n)
        return Outcomes(visits, spend, np.maximum(discount, 0.0), discount >= 0.0, later, shock)

    def net_revenue(self, arm: np.ndarray, outcomes: Outcomes) -> np.ndarray:
        """Return `(n_users,)` what each user brought in: margin on spend, less discount and contact. Currency."""
        contacted = self.settings.contact_cost * (np.asarray(arm) >= 0)
        return self.settings.margin * outcomes.spend - outcomes.discount - contacted

    def after(self, arm: np.ndarray, outcomes: Outcomes) -> Self:
        """Return the market one period later: who was contacted is wearier, who bought comes again sooner."""
        # A contact is forgotten over three periods of 28 days.
        contacts = self.contacts * np.exp(-self._periods(1) / 3.0) + (self._arms(arm) >= 0)
        return dataclasses.replace(
            self, period=self.period + 1, contacts=contacts, bought=outcomes.purchased, stocked=outcomes.redeemed
        )

    @property
    def trial(self) -> Trial:
        """The randomised trial that was held two periods before the campaign; its baskets are in the history too."""
        user = np.flatnonzero(self.trial_arm >= NOTHING)
        visits, spend, discount = self.trial_outcome[user].T
        outcomes = Outcomes(
            visits.astype(np.int32),
            spend,
            np.maximum(discount, 0.0),
            discount >= 0.0,
            np.full(user.size, np.nan),
            1.0,
        )
        return Trial(
            user,
            self.trial_arm[user],
            self.seen_before[user],
            outcomes,
            1.0 / (1 + len(self.coupons)),
            self.first_day(TRIAL),
        )

    def season(self, period: int) -> float:
        """Return the factor of a period on visits: the mean of its days', times its length as a share of 28 days."""
        return float(self._day_factors(period).mean()) * (self._periods(1) if period >= 0 else 1.0)

    def _periods(self, waves: int) -> float:
        """Return how many periods of 28 days so many of the campaign's are."""
        return waves * self.days / PERIOD_DAYS

    def _day_factors(self, period: int) -> np.ndarray:
        """`(days,)` factor on visits of each day of a period."""
        calendar = calibration()["calendar"]
        length = self.days if period >= 0 else PERIOD_DAYS
        days = [self.first_day(period) + datetime.timedelta(days=day) for day in range(length)]
        week = np.array(calendar["week"])[[min((day.timetuple().tm_yday - 1) // 7, 51) for day in days]]
        return week * np.array(calendar["weekday"])[[day.weekday() for day in days]]

    @cached_property
    def law(self) -> np.ndarray:
        """`(N_LAW,)` float64, the constants of `kernels.market`."""
        known, law = self.settings, np.empty(kernel.N_LAW)
        law[kernel.SPREAD], law[kernel.STRETCH] = calibration()["basket"]["within"], known.stretch
        law[kernel.LINES], law[kernel.FATIGUE], law[kernel.HABIT] = known.lines, known.fatigue, known.habit
        law[kernel.FORWARD], law[kernel.APPEAL], law[kernel.ODD] = known.forward, 0.15, known.odd
        law[kernel.IDLE] = known.idle
        return law

    def _world(self) -> tuple[object, ...]:
        """Return the arguments that `expect` and `draw` share."""
        now = self._periods(self.period)
        lively = np.where(self.population.left <= now, self.settings.lapsed_rate, 1.0)
        season = np.array([self.season(self.period), self.season(self.period + 1)])
        tired = float(np.exp(-self.settings.drift * (now - TRIAL)))
        return (
            self.population.traits,
            self.terms,
            self.law,
            self.affinity,
            self.contacts,
            lively,
            self.bought,
            self.stocked,
            season,
            tired,
        )

    def history_arguments(self) -> tuple[object, ...]:
        """Return the arguments that the walks through the history share."""
        factors = [self._day_factors(period) for period in range(self.first_period, 0)]
        days = np.array([np.cumsum(factor) / factor.sum() for factor in factors])
        return (
            self.population.traits,
            self.terms,
            self.law,
            self.affinity,
            self.population.contacts,
            self.population.joined,
            self.population.left,
            self.settings.lapsed_rate,
            np.array([factor.mean() for factor in factors]),
            days,
            TRIAL,
            np.maximum(self.trial_arm, NOTHING),
            draws.run_key(self.seed, 0),
            np.arange(self.n_users, dtype=np.int64),
            self.first_period,
        )

    def _walked(self, threads: int | None) -> Self:
        state = np.empty(self.n_users, np.int8)

        def block(low: int, high: int) -> None:
            past.walk(
                *self.history_arguments(),
                self.n_lines,
                self.seen_before,
                self.seen_now,
                state,
                self.trial_outcome,
                low,
                high,
            )

        map_blocks(block, self.n_users, threads)
        return dataclasses.replace(self, bought=(state & 1) > 0, stocked=(state & 2) > 0)

    def _arms(self, arm: np.ndarray) -> np.ndarray:
        arm = np.asarray(arm)
        if arm.shape != (self.n_users,) or not np.issubdtype(arm.dtype, np.integer):
            raise UsageError(
                f"arm has shape {arm.shape} and type {arm.dtype}; give one integer for each of {self.n_users:,} users"
            )
        if arm.size and not NOTHING <= arm.min() <= arm.max() < len(self.coupons):
            raise UsageError(f"arm holds {arm.min()} to {arm.max()}; it must be -1 (none) to {len(self.coupons) - 1}")
        return arm.astype(np.int64)
