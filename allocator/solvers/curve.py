"""The dual's minimum for many numbers of one limit, for little more than the price of one.

Without its right-hand side the dual does not depend on the limits' numbers, and its minimum moves along a path. A sample
of the users tells where the path goes. Between two numbers whose prices are known, all users are set aside who choose the
same all along it (`tubes`); the number in the middle is solved among the others, and then both halves in the same way: so
a user is looked at only near the numbers where the choice changes.

A few Newton steps lead so close to the minimum that the dual is off by less than a share of the tolerance. It is a bound
wherever it is evaluated, and a plan near it proves it good.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from allocator.problem import Problem
from allocator.solvers import boxes, newton
from allocator.solvers.path import Path, sampled_path
from allocator.solvers.piece import Piece
from allocator.solvers.prices import Prices, Search
from allocator.solvers.tally import Tally
from allocator.solvers.tubes import Tube

WARMTH = 0.02  # first temperature of a search at length, as a share of how far reduced values moved before
TELLING = 0.1  # temperature of a curvature, as a share of how far reduced values move in a box
BENDING = 4.0  # temperatures, the same where users get one offer
SAMPLE = 4_000  # users that tell the curvature
MOST_WARMINGS, WARMER = 2, 10.0
A_FEW = 16.0  # offers
FEW = 10_000  # users; among more, a step or two tell where to look further
FIRST_STEPS, LAST_STEPS = 2, 12  # of Newton in a box
MOST_BOXES, MOST_TURNS, WIDER = 8, 3, 2.0
TOLD = 20.0  # users near a tie, for the curvature of a price to tell where its minimum is
COUNTED = 50_000  # users; a price that few are near must not be told from a few of them
BEYOND = 3.0  # times the next step, that prices may move
FINE, ENOUGH = 0.005, 0.2  # of the tolerance: what a Newton step should, and what it may still promise
CORNER = 1.0  # of the tolerance, the same where the step leads nowhere
BENT = 1.25  # times as far as the sample's path strays from a straight line, that of all users may
LIKELY = 0.3  # of what prices may be off by, they are within all but sometimes
BARELY = 0.05  # of how far the path strays from a straight line, it is off where the sample says that it goes
SMALLER = 0.15  # of the sample's error, what is left of it between two points where all users are known
CROOKED = 0.15  # of the way between two prices; a path that strays further is no tube
ROUNDING = 1e-9  # of a limit's greatest price
NEAR = 4.0  # times a few offers, that exchanges have to choose from


@dataclass(frozen=True, eq=False)
class Close:
    """Prices close to the minimum.

    Attributes
    ----------
    prices, value
        The prices, and the dual there, currency: a bound, required offers left out.
    piece
        Users near indifference.
    begun
        How many parts of `piece.picked` are in `fixed`.
    fixed
        Sums over some users' choices at these prices.
    reach
        `(n_limits,)`: how far each price must move, about, to flip a few offers.
    """

    prices: np.ndarray
    value: float
    piece: Piece
    begun: int
    fixed: Tally
    reach: np.ndarray

    def plan(self, own: np.ndarray) -> Tally:
        """Return the sums of a plan in which the users of `piece` get these of the problem's offers."""
        return self.fixed.plus(np.concatenate([*self.piece.picked[self.begun :], own]))


@dataclass(frozen=True, eq=False)
class Point:
    """One number.

    Attributes
    ----------
    position
        Among all.
    whole
        The problem with this number.
    prices
        The dual's minimum, or close to it.
    close
        `None` where no short way led there.
    exactly
        Finds the minimum.
    """

    position: int
    whole: Piece
    prices: np.ndarray
    close: Close | None
    exactly: Callable[[], Prices]


@dataclass(frozen=True, eq=False)
class Region:
    """Users whose choice may change between prices in a tube, and sums over the choices of all others."""

    piece: Piece
    tube: Tube
    fixed: Tally
    share: float  # of all users


@dataclass(frozen=True, eq=False)
class Curve:
    """A search whose limit `at` takes many numbers as its at-most side.

    `tolerance` gives the gap (currency) that is good enough at a value of the dual.
    """

    search: Search
    problem: Problem
    at: int
    tolerance: Callable[[float], float]

    def points(self, numbers: Sequence[float], prices: np.ndarray, tau: float) -> Iterator[Point]:
        """Yield a point for each number; `numbers` ascends. The first search starts from `prices` at temperature `tau`."""
        last = len(numbers) - 1
        path = sampled_path(self.search, self.at, numbers, prices, tau) if last else None
        signs = self.search.signs
        everyone = Region(self.search.whole, Tube(signs, signs), Tally.of(self.problem, self.problem.required), 1.0)
        above = self._end(last, numbers[last], everyone, prices, tau, path)
        yield above
        if last:
            below = self._end(0, numbers[0], everyone, above.prices, tau, path, above)
            yield below
            yield from self._between(numbers, below, above, path, (everyone,))

    def _end(
        self,
        position: int,
        number: float,
        everyone: Region,
        prices: np.ndarray,
        tau: float,
        path: Path | None,
        other: Point | None = None,
    ) -> Point:
        """Return the point of one number, searched among all users."""
        whole, close = self._whole(number), None
        if path is not None:
            start, likely = path.at(number), path.likely[position > 0]
            if other is not None:  # what the sample is off by at one end it is off by at the other, more or less
                start = np.clip(start + other.prices - path.at(path.numbers[-1]), likely.low, likely.high)
            radius = LIKELY * np.stack([start - likely.low, likely.high - start])
            # Of a price that the sample knows next to nothing of, it is the next box that finds out more.
            first = likely.within(start, np.minimum(radius, np.where(start != 0, np.abs(start), np.inf)))
            close = self._close(whole, start, first, self.search.signs, everyone.fixed)
        search = dataclasses.replace(self.search, whole=whole)
        return self._point(position, whole, close, lambda: search.run(prices, tau))

    def _point(self, position: int, whole: Piece, close: Close | None, at_length: Callable[[], Prices]) -> Point:
        found = None if close else at_length()
        prices = close.prices if close else found.prices  # type: ignore[union-attr]
        return Point(position, whole, prices, close, lambda: found or at_length())

    def _between(
        self, numbers: Sequence[float], below: Point, above: Point, path: Path | None, regions: tuple[Region, ...]
    ) -> Iterator[Point]:
        """Yield the points of the numbers between two; each of the regions holds both, and lies in the one before."""
        low, high = below.position, above.position
        middle = (low + high) // 2
        if middle == low:
            return
        number = numbers[middle]
        share = (number - numbers[low]) / (numbers[high] - numbers[low])
        start = below.prices + share * (above.prices - below.prices)
        whole, close = self._whole(number), None
        if path is not None:
            regions = self._narrowed(numbers, below, above, path, regions)
            off = self._off(numbers, below, path), self._off(numbers, above, path)
            # What the sample is off by at both ends it is off by between them, nearly.
            guess = path.at(number) + off[0] + share * (off[1] - off[0])
            guess[np.abs(guess) <= ROUNDING * np.abs(path.prices).max(axis=0)] = 0.0
            for region in regions[:-3:-1]:
                box = region.tube.at(start)
                if close is None and box is not None:
                    doubt = self._doubt(numbers, below, above, path, region)
                    guess = np.clip(guess, box.low, box.high)
                    radius = BARELY * path.bent(numbers[low], numbers[high]) + doubt
                    first = box.within(guess, np.tile(radius, (2, 1)))
                    piece = self._with_number(region.piece, number)
                    close = self._close(piece, guess, first, box, region.fixed)
        search, move = dataclasses.replace(self.search, whole=whole), np.abs(above.prices - below.prices)
        tau = WARMTH * float((move * search.scale).max()) + 1e-9
        last = regions[-1].tube.at(start) if regions[-1].piece.shard.n_users else None
        among = (None, None) if last is None else (self._with_number(regions[-1].piece, number), last)
        point = self._point(middle, whole, close, lambda: search.run(start, tau, *among))
        yield point
        yield from self._between(numbers, below, point, path, regions)
        yield from self._between(numbers, point, above, path, regions)

    def _off(self, numbers: Sequence[float], point: Point, path: Path) -> np.ndarray:
        """Return how far the sample's prices are from those of all at a point."""
        return point.prices - path.at(numbers[point.position])

    def _doubt(self, numbers: Sequence[float], below: Point, above: Point, path: Path, region: Region) -> np.ndarray:
        """Return how wrong prices between two points may be told from the sample and from what it is off by at both."""
        apart = np.abs(self._off(numbers, above, path) - self._off(numbers, below, path))
        error = path.error_at(0.5 * (numbers[below.position] + numbers[above.position]))
        return apart + SMALLER * error * region.share**0.5 + self._reach(below, above)

    def _narrowed(
        self, numbers: Sequence[float], below: Point, above: Point, path: Path, regions: tuple[Region, ...]
    ) -> tuple[Region, ...]:
        """Add the region between two points, where a tube between these is narrow enough and worth it."""
        if above.position - below.position < 3:
            return regions
        region = regions[-1]
        low, high = numbers[below.position], numbers[above.position]
        bent, apart = BENT * path.bent(low, high), np.abs(above.prices - below.prices)
        ends = [region.tube.at(point.prices) for point in (below, above)]
        if ends[0] is None or ends[1] is None or bent[self.at] > CROOKED * apart[self.at]:
            return regions
        radius = bent + self._doubt(numbers, below, above, path, region)
        # A price that leaves zero somewhere on the way may have done so anywhere.
        radius = np.where((below.prices == 0) != (above.prices == 0), np.maximum(radius, apart), radius)
        tube = Tube(
            ends[0].within(below.prices, np.tile(radius, (2, 1))), ends[1].within(above.prices, np.tile(radius, (2, 1)))
        )
        piece = tube.open_piece(region.piece)
        fixed = region.fixed.plus(piece.picked[-1])
        return (*regions, Region(piece, tube, fixed, piece.shard.n_users / self.search.whole.shard.n_users))

    @staticmethod
    def _reach(below: Point, above: Point) -> np.ndarray:
        """Return how far prices must move to flip a few offers, as far as it is known of two points."""
        known = [point.close.reach for point in (below, above) if point.close is not None]
        return np.max(known, axis=0) if known else np.zeros(below.prices.size)

    def _close(self, piece: Piece, start: np.ndarray, box: boxes.Box, outer: boxes.Box, fixed: Tally) -> Close | None:
        """Return prices close to the minimum over `outer`, `None` where nothing short leads there.

        They are looked for from `start` in a first `box`.
        """
        prices, scale, begun = start, self.search.scale, len(piece.picked)
        opened = [(outer, piece)]
        for _ in range(MOST_BOXES):
            around = [known for known_box, known in opened if known_box.contains(box)]
            inside = box.open_piece(min(around, key=lambda known: known.shard.n_users))
            opened.append((box, inside))
            if not inside.shard.n_users:  # the dual is straight here, and has no curvature to follow
                radius = WIDER * (box.high - box.low)
                box = outer.within(prices, np.stack([radius, radius]))
                continue
            few = inside.shard.n_users <= FEW
            value, curvature, told = self._curvature(inside, prices, (box.high - box.low) * scale)
            bend = curvature.diagonal()
            reach = np.divide(A_FEW * scale, bend, out=np.zeros(start.size), where=bend > 0)
            fine, enough = FINE * self.tolerance(value), ENOUGH * self.tolerance(value)
            for turn in range(MOST_TURNS if few else 1):
                sharp = newton.sharpened(
                    inside, prices, curvature, box.low, box.high, fine, LAST_STEPS if few else FIRST_STEPS, told
                )
                step, promised, counted = self._counted(inside, sharp, ~told)
                moved = self._moved(inside, sharp, step, box) if promised > enough else None
                if moved is None or turn == MOST_TURNS - 1:
                    break
                prices = moved
            prices, step = (sharp.prices if moved is None else prices), step + sharp.step
            reach, sure = np.where(told, reach, counted), np.where(told, reach, 0.0)
            # A step that leads out of the box is told from too few users to be believed in full.
            radius = np.minimum(BEYOND * np.abs(step) + NEAR * reach, WIDER * (box.high - box.low) + NEAR * sure)
            radius = np.where((prices != 0) | (step != 0), radius, 0.0)
            last, box = box, outer.within(prices, np.stack([radius, radius]))
            promised += sharp.promised
            # Few users make a dual with corners: at one of them the slope promises more than there is.
            corner = few and moved is None and promised <= CORNER * self.tolerance(value)
            if corner or promised <= (enough if few else fine):
                if sharp.value < self.search.floor:
                    return None
                near = last.within(prices, np.stack([radius, radius])).open_piece(inside)
                return Close(prices, sharp.value, near if near.shard.n_users else inside, begun, fixed, reach)
        return None

    def _counted(self, piece: Piece, sharp: newton.Sharp, among: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
        """Return how far prices that few users are near must move for as many offers to change as are too many or too few.

        And by how much that may lower the dual, at most, and how far these prices must move to flip a few offers.
        """
        gradient, free = newton.slope(piece, sharp.prices, sharp.used)
        few = np.flatnonzero(free & among)
        reach, step = np.zeros(free.size), np.zeros(free.size)
        if not few.size:
            return step, 0.0, reach
        flips = boxes.flips(piece, sharp.prices, few, self.search.scale, COUNTED)
        reach[few] = flips.radius(np.full(free.size, A_FEW)).max(axis=0)[few]
        moving = few[np.abs(gradient[few]) > 0.5 * self.search.scale[few]]
        if moving.size:
            down, up = flips.radius(np.abs(gradient) / self.search.scale)
            step[moving] = np.where(gradient < 0, up, -down)[moving]
            step = np.where(sharp.prices * (sharp.prices + step) < 0, -sharp.prices, step)
        return step, -float(gradient @ step), reach

    @staticmethod
    def _moved(piece: Piece, sharp: newton.Sharp, step: np.ndarray, box: boxes.Box) -> np.ndarray | None:
        """Return prices further along a step inside a box, where that lowers the dual."""
        target = np.clip(sharp.prices + step, box.low, box.high)
        alone = np.diag(target - sharp.prices)
        for move in (*(share * (target - sharp.prices) for share in newton.SHORTER), *alone[step != 0]):
            if piece.exact(sharp.prices + move)[0] < sharp.value:
                moved: np.ndarray = sharp.prices + move
                return moved
        return None

    def _curvature(self, piece: Piece, prices: np.ndarray, widths: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return the smoothed dual, its curvature, and the prices that it tells much about.

        The others, that few users are near, have that of a higher temperature. `widths` `(n_limits,)`: how far each price
        moves an offer's reduced value in the box, currency.
        """
        some = (widths > 0) & ((prices != 0) if (widths[prices != 0] > 0).any() else True)
        least = float(widths[some].min(initial=np.inf)) if some.any() else 0.0
        tau = TELLING * least + 1e-9
        if piece.gets_one:
            return piece.bend(prices, BENDING * np.maximum(TELLING * widths, tau), TOLD)
        sample = piece.sample(SAMPLE, self.search.rng) if piece.shard.n_users > 2 * SAMPLE else piece
        share = sample.shard.n_users / piece.shard.n_users
        value, _, curvature = sample.soft(prices, tau)
        assert isinstance(curvature, np.ndarray)
        result = curvature.copy()
        told = tau * result.diagonal() >= TOLD * self.search.scale**2
        for _ in range(MOST_WARMINGS):
            blind = (prices != 0) & (tau * result.diagonal() < self.search.scale**2)
            if not blind.any():
                break
            tau *= WARMER
            _, _, curvature = sample.soft(prices, tau)
            assert isinstance(curvature, np.ndarray)
            result[blind, :], result[:, blind] = curvature[blind, :], curvature[:, blind]
        return value / share, result / share, told

    def _whole(self, number: float) -> Piece:
        """Return the whole problem with this number."""
        return self._with_number(self.search.whole, number)

    def _with_number(self, piece: Piece, number: float) -> Piece:
        """Return a piece of the searched problem with this number in place of the one it has."""
        at_most = piece.folding.at_most.copy()
        # Not in place of it: what required offers use has been taken off already.
        searched = self.problem.limits[self.at].at_most
        assert searched is not None
        at_most[self.at] += number - searched
        return dataclasses.replace(piece, folding=piece.folding.with_bounds(piece.folding.at_least, at_most))
