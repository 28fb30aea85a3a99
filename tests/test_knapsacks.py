"""Limits that are knapsacks: prices of users bound plans, rule choices out, and lead a search for the best plan."""

import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from allocator import Limit, Problem, Status, solve, verify
from allocator.clock import working_time
from allocator.solvers.assigning import Assigning, assigned
from allocator.solvers.ejection import States, states_of
from allocator.solvers.knapsacks import Knapsacks
from allocator.solvers.programs import Program


def assignment(users: int, limits: int, seed: int, *, must: bool, whole: bool, twins: bool = False) -> States:
    """Make users who take one of as many columns as there are limits (`twins`: of two for each), each using one limit."""
    rng = np.random.default_rng(seed)
    columns = users * limits * (2 if twins else 1)
    owner = np.repeat(np.arange(users), columns // users)
    limit = np.tile(np.arange(columns // users) % limits, users)
    use = rng.integers(1, 9, columns).astype(float)
    value = rng.integers(1, 20, columns) + (0.0 if whole else rng.random(columns))
    uses = sp.csr_matrix((use, (limit, np.arange(columns))), shape=(limits, columns))
    one = sp.csr_matrix((np.ones(columns), (owner, np.arange(columns))))
    program = Program(
        objective=value,
        matrix=sp.csr_matrix(sp.vstack([uses, one])),
        lower=np.concatenate([np.full(limits, -np.inf), np.full(users, 1.0 if must else -np.inf)]),
        upper=np.concatenate([np.full(limits, float(int(5.6 * users / limits))), np.ones(users)]),
        ceiling=np.ones(columns),
        integer=np.ones(columns, dtype=bool),
    )
    states = states_of(program, owner, np.full(limits, 0.5))
    assert states is not None
    return states


def every_plan(states: States) -> tuple[np.ndarray, np.ndarray]:
    """Return all plans that keep the limits, `(plans, n_users)` states, and what they are worth."""
    each = [range(first, last) for first, last in itertools.pairwise(states.start.tolist())]
    plans = np.array(list(itertools.product(*each)))
    used = sum(states.uses.toarray()[plans[:, j]] for j in range(plans.shape[1]))
    sound = (used <= states.upper).all(axis=1)
    return plans[sound], states.value[plans[sound]].sum(axis=1)


CASES = list(itertools.product(range(3), [False, True], [False, True], [False, True]))


@pytest.mark.parametrize(("seed", "must", "whole", "twins"), CASES)
def test_no_plan_is_worth_more_than_the_bound_less_what_its_states_lose(
    seed: int, must: bool, whole: bool, twins: bool
) -> None:
    states = assignment(5, 2, seed, must=must, whole=whole, twins=twins)
    knapsacks = Knapsacks.of(states)
    assert knapsacks is not None
    plans, value = every_plan(states)
    proven = knapsacks.tightened(states.worth, float(np.median(value)), np.inf)
    assert value.max() <= proven.bound <= states.worth.sum() + 0.5 * states.upper.sum() + 1e-6
    loss = proven.loss[knapsacks.item]
    assert (value <= proven.bound - loss[plans].max(axis=1) + 1e-9).all()


@pytest.mark.parametrize(("seed", "must", "whole", "twins"), CASES)
def test_the_search_proves_the_best_plan(seed: int, must: bool, whole: bool, twins: bool) -> None:
    """From the worst plan there is; what comes out does not depend on the other thread."""
    states = assignment(5, 2, seed, must=must, whole=whole, twins=twins)
    knapsacks = Knapsacks.of(states)
    assert knapsacks is not None
    plans, value = every_plan(states)
    proven = knapsacks.tightened(states.worth, float(value.min()), np.inf)
    search = Assigning(knapsacks, proven, 1.0 if whole else 0.001, whole, 0)
    start = knapsacks.item[plans[value.argmin()]]
    items, bound = assigned(search, start, working_time() + 60.0)
    assert search.value(items) == pytest.approx(value.max(), abs=0.001)
    assert value.max() <= bound + 1e-9 <= search.value(items) + 0.002
    again, _ = assigned(search, start, working_time() + 60.0)
    assert (items == again).all()


@pytest.mark.parametrize("fault", ["two limits", "parts", "at least"])
def test_what_is_no_knapsack_is_left_to_others(fault: str) -> None:
    states = assignment(5, 2, 0, must=False, whole=True)
    if fault == "two limits":
        other = sp.csr_matrix(np.ones(states.uses.shape))
    elif fault == "parts":
        other = sp.csr_matrix(states.uses * 0.7)
    else:
        other = states.uses
        states.lower[0] = 2.0
    values = {name: getattr(states, name) for name in states.__dataclass_fields__}
    assert Knapsacks.of(States(**{**values, "uses": other})) is None


def test_a_stop_leaves_a_valid_plan_and_bound() -> None:
    states = assignment(60, 6, 1, must=True, whole=True)
    knapsacks = Knapsacks.of(states)
    assert knapsacks is not None
    proven = knapsacks.tightened(states.worth, 0.0, np.inf)
    search = Assigning(knapsacks, proven, 1.0, True, 0)
    start = search.wander(knapsacks.item[states.best()], np.ones(1, np.uint8), [])
    items, bound = assigned(search, start, working_time())
    assert bound <= proven.bound
    assert (knapsacks.user[items] == np.arange(60)).all()


@pytest.mark.slow
def test_twenty_knapsacks_among_two_hundred_users_are_solved_to_the_end() -> None:
    """Of Yagiura's type E: prices of limits alone leave a gap that branch and bound does not close in minutes."""
    rng = np.random.default_rng(5)
    agents, jobs = 15, 150
    share = 1.0 - 10.0 * np.log(1.0 - rng.random((agents, jobs)))
    use = np.maximum(1, np.rint(share))
    value = 1_000.0 - np.maximum(1, np.rint(1000.0 / share - 10.0 * rng.random((agents, jobs))))
    user, agent = np.divmod(np.arange(agents * jobs), agents)
    offers = pd.DataFrame(
        {
            "user_id": user,
            "coupon": [f"c{k}" for k in agent],
            "value": value[agent, user],
            "cost": 0.0,
            "use": use[agent, user],
        }
    )
    limits = [Limit("everyone", measure="count", at_least=float(jobs))]
    limits += [
        Limit(f"c{k}", measure="use", at_most=float(0.8 * use[k].sum() // agents), coupons=[f"c{k}"])
        for k in range(agents)
    ]
    problem = Problem.from_offers(offers, limits=limits)
    result = solve(problem, time_limit=120.0)
    verify(problem, result)
    assert result.status is Status.OPTIMAL
    assert result.price_bound > result.bound + 1.0
