"""Very many quantities beside one other limit: a flow.

Where every user gets at most one offer, and all limits but one (the budget, say) are quantities of coupons that do not
overlap, what is left once that one has a price is a transportation problem: users on one side, coupons with so many
pieces on the other. A network flow solves it exactly in a second where there are a million offers, and its optimum is whole. So the
dual is a function of a single price; it is convex, each flow gives a line below it, and where the lines of two flows
meet is the next price to try (Kelley, *The cutting-plane method*, J. SIAM 8(4), 1960, doi:10.1137/0108053).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from allocator.clock import working_time
from allocator.kernels.transport import supporting_prices
from allocator.solvers.loading import flow_builder
from allocator.solvers.piece import Piece
from allocator.solvers.programs import Program, solve_integer
from allocator.solvers.relaxation import limit_matrix

MOST_OFFERS = 4_000_000  # a flow of more takes minutes and many gigabytes
DIGITS = 2.0**57  # what a whole-number gain times the network's nodes stays below
MOST_FLOWS = 60
STEEPER = 4.0  # times the price, while too much is used
MOST_SWEEPS = 10_000
MOST_PAIRS = 5  # of flows, one on each side, that plans are mixed from
MOST_NODES = 5_000
LONGEST = 10.0  # seconds, for a knapsack that takes milliseconds
SECONDS = 5e-6  # an offer: with less time, no price is found by flows


@dataclass(frozen=True, eq=False)
class Flow:
    """The best assignment at a price of the limit beside the quantities.

    Attributes
    ----------
    price
        Currency per unit.
    dual
        The dual there, currency, but for rounding.
    left
        What it leaves of that limit: the dual's slope.
    taken
        The piece's offers.
    quantities
        `(n_limits,)` prices of the quantities.
    """

    price: float
    dual: float
    left: float
    taken: np.ndarray
    quantities: np.ndarray


@dataclass(frozen=True, eq=False)
class Transport:
    """A problem of this kind.

    Attributes
    ----------
    beside
        Position of the limit beside the quantities, -1: there is none.
    offer, user, place
        `(n,)`: the piece's offers that exist, whose each is, and the place (coupons that share a quantity) that it takes.
    use
        `(n,)`: what each uses of the limit beside.
    room
        `(n_places,)` int64; the last place is that of coupons without a quantity.
    limit
        `(n_places - 1,)` position of each place's limit.
    """

    piece: Piece
    beside: int
    offer: np.ndarray
    user: np.ndarray
    place: np.ndarray
    value: np.ndarray
    use: np.ndarray
    room: np.ndarray
    limit: np.ndarray

    def at(self, price: float) -> Flow | None:
        """Return the best assignment at a price; `None` where the solver gives up."""
        n_users, n_places = self.piece.shard.n_users, self.room.size
        gain = self.value - price * self.use
        nodes = n_users + n_places + 1
        scale = DIGITS / (nodes * max(1e-9, float(np.abs(gain).max(initial=0.0))))
        whole = np.rint(gain * min(scale, 1e9)).astype(np.int64)
        kept = np.flatnonzero(whole > 0)
        flow, sink = flow_builder().SimpleMinCostFlow(), nodes - 1
        flow.add_arcs_with_capacity_and_unit_cost(
            self.user[kept], n_users + self.place[kept], np.ones(kept.size, np.int64), -whole[kept]
        )
        everyone, places = np.arange(n_users), n_users + np.arange(n_places)
        ones = np.ones(n_users, np.int64)
        flow.add_arcs_with_capacity_and_unit_cost(
            places, np.full(n_places, sink), self.room, np.zeros(n_places, np.int64)
        )
        flow.add_arcs_with_capacity_and_unit_cost(everyone, np.full(n_users, sink), ones, np.zeros(n_users, np.int64))
        flow.set_nodes_supplies(everyone, ones)
        flow.set_node_supply(sink, -n_users)
        if flow.solve() != flow.OPTIMAL:
            return None
        chosen = flow.flows(np.arange(kept.size)) > 0
        taken = np.full(n_users, -1, np.int64)
        taken[self.user[kept[chosen]]] = np.flatnonzero(chosen)
        free = np.zeros(n_places, dtype=bool)
        free[-1] = True
        start = np.searchsorted(self.user[kept], np.arange(n_users + 1))
        prices = supporting_prices(start, self.place[kept], whole[kept], taken, free, MOST_SWEEPS) / min(scale, 1e9)
        everything = kept[chosen]
        folding = self.piece.folding
        quantities = np.zeros(folding.n_limits)
        quantities[self.limit] = prices[:-1]
        most = 0.0 if self.beside < 0 else float(folding.at_most[self.beside])
        return Flow(
            price,
            float(gain[everything].sum()) + price * most,
            most - float(self.use[everything].sum()),
            self.offer[everything],
            quantities,
        )

    def prices(self, flow: Flow) -> np.ndarray:
        """Return all prices, `(n_limits,)`."""
        prices = flow.quantities.copy()
        if self.beside >= 0:
            prices[self.beside] = flow.price
        return prices

    def minimum(self, tolerance: float, deadline: float) -> tuple[Flow, np.ndarray] | None:
        """Return the flow of least dual, within `tolerance` (currency), and the piece's offers of a plan near it.

        `None` where there is too little time, or the flows' solver gives up.
        """
        flows = self.flows(tolerance, deadline) if deadline - working_time() > SECONDS * self.offer.size else []
        if not flows:
            return None
        best = min(flows, key=lambda flow: flow.dual)
        short = sorted((flow for flow in flows if flow.left < 0), key=lambda flow: -flow.price)
        kept = sorted((flow for flow in flows if flow.left >= 0), key=lambda flow: flow.price)
        if not kept:
            return None
        plans = [kept[0].taken]
        plans += [self.mixed(*pair, tolerance) for pair in zip(kept[:MOST_PAIRS], short[:MOST_PAIRS], strict=False)]
        return best, max(plans, key=lambda taken: float(self.piece.shard.value[taken].sum()))

    def flows(self, tolerance: float, deadline: float) -> list[Flow]:
        """Return the flows at prices that close in on the least dual; none where the solver gives up."""
        below = self.at(0.0)
        if below is None or below.left >= 0 or self.beside < 0:
            return [] if below is None else [below]
        above, price = None, float(np.median(self.value / np.maximum(self.use, 1e-9)))
        found = [below]
        while len(found) < MOST_FLOWS and working_time() < deadline:
            flow = self.at(price)
            if flow is None:
                return []
            found.append(flow)
            if flow.left >= 0:
                above = flow
            else:
                below = flow
            if above is None:
                price *= STEEPER
                continue
            # Where the two lines meet, the dual cannot be lower.
            across = above.left - below.left
            meet = (below.dual - above.dual + above.left * above.price - below.left * below.price) / across
            least = above.dual + above.left * (meet - above.price)
            if min(above.dual, below.dual) - least <= tolerance:
                break
            width = above.price - below.price
            # Where the lines are of very different slope they meet near an end again and again.
            price = min(max(meet, below.price + 0.02 * width), above.price - 0.02 * width)
            if len(found) % 4 == 0:
                price = 0.5 * (above.price + below.price)
        return found

    def mixed(self, kept: Flow, short: Flow, tolerance: float) -> np.ndarray:
        """Return the best plan (the piece's offers) between one that leaves some of the limit and one that uses too much.

        What differs falls into chains of users, each of whom takes the place that the next one leaves: they can be changed one
        chain at a time, and all lose next to nothing at prices in between. A small knapsack says which.
        """
        n_users = self.piece.shard.n_users
        old, new = self._held(kept.taken), self._held(short.taken)
        moved = np.flatnonzero(old != new)
        if not moved.size:
            return kept.taken
        chain = _chains(self._places(old[moved]), self._places(new[moved]), self.room.size - 1)
        change = [np.zeros(n_users), np.zeros(n_users)]
        for total, column in zip(change, (self.value, self.use), strict=True):
            padded = np.append(column, 0.0)
            total[moved] = padded[new[moved]] - padded[old[moved]]
        n = int(chain.max()) + 1
        value, use = (np.bincount(chain, total[moved], n) for total in change)
        program = Program(
            value,
            sp.csr_matrix(use[None, :]),
            np.full(1, -np.inf),
            np.array([kept.left * (1 - 1e-12) - 1e-9]),
            np.ones(n),
            np.ones(n, dtype=bool),
        )
        answer = solve_integer(program, time_limit=LONGEST, absolute_gap=tolerance, nodes=MOST_NODES)
        if answer.x is None:
            return kept.taken
        changed = moved[(answer.x > 0.5)[chain]]
        old[changed] = new[changed]
        return self.offer[old[old >= 0]]

    def _held(self, taken: np.ndarray) -> np.ndarray:
        """Return the position in `offer` of what each user has in a plan, `(n_users,)`, -1: nothing."""
        position = np.searchsorted(self.offer, taken)
        held = np.full(self.piece.shard.n_users, -1, np.int64)
        held[self.user[position]] = position
        return held

    def _places(self, held: np.ndarray) -> np.ndarray:
        """Return the place of each of these positions; the last one, where there is room for all, for none."""
        return np.where(held >= 0, self.place[held], self.room.size - 1)


def _chains(left: np.ndarray, entered: np.ndarray, endless: int) -> np.ndarray:
    """Return the chain of each move from a place to a place, numbered from 0: one who enters waits for one who leaves."""
    n = left.size
    links = []
    for places in (left, entered):
        order = np.lexsort((np.arange(n), places))
        sorted_places = places[order]
        turn = np.arange(n) - np.searchsorted(sorted_places, sorted_places)  # the how manieth of its place
        real = sorted_places != endless
        links.append((sorted_places[real].astype(np.int64) * (n + 1) + turn[real], order[real]))
    (out_key, out), (in_key, into) = links
    _, a, b = np.intersect1d(out_key, in_key, assume_unique=True, return_indices=True)
    graph = sp.coo_matrix((np.ones(a.size), (out[a], into[b])), shape=(n, n))
    _, chain = connected_components(graph, directed=False)
    result: np.ndarray = chain.astype(np.int64)
    return result


def transport_of(piece: Piece) -> Transport | None:
    """Return a piece as such a problem, or `None` where it is another."""
    shard, folding = piece.shard, piece.folding
    single = (int(shard.caps.max(initial=0)) if shard.caps.size else shard.cap) <= 1
    if not single or folding.narrow.size or shard.n_offers > MOST_OFFERS or np.isfinite(folding.at_least).any():
        return None
    counting = (folding.weights[:, :-1] == 0).all(axis=1) & (folding.weights[:, -1] == 1)
    covered = np.asarray(folding.wide_coupons.sum(axis=1)).reshape(-1)  # all limits are wide
    beside = np.flatnonzero(~counting | (covered == folding.wide_coupons.shape[1]))
    limit = np.setdiff1d(np.arange(folding.n_limits), beside)
    owners = np.asarray(folding.wide_coupons[limit].sum(axis=0)).reshape(-1)
    if beside.size > 1 or (owners > 1).any() or (folding.at_most < 0).any():
        return None
    place_of = np.full(owners.size, limit.size)
    rows, coupons = folding.wide_coupons[limit].nonzero()
    place_of[coupons] = rows
    offer = np.flatnonzero(~np.isnan(shard.value))
    user = shard.users_of(offer)
    if shard.caps.size:
        offer, user = offer[shard.caps[user] > 0], user[shard.caps[user] > 0]
    use = np.zeros(offer.size)
    if beside.size:
        use = limit_matrix(shard, folding, offer, beside).toarray().reshape(-1)
    room = np.append(np.minimum(np.floor(folding.at_most[limit] + 1e-9), shard.n_users), shard.n_users).astype(np.int64)
    return Transport(
        piece,
        int(beside[0]) if beside.size else -1,
        offer,
        user,
        place_of[shard.coupons_of(offer)],
        shard.value[offer],
        use,
        room,
        limit,
    )
