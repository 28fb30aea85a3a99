"""Small problems with entangled limits: everyone gets one, many knapsacks at once."""

import dataclasses
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from allocator import Limit, Problem, Status, solve, verify
from allocator.clock import working_time
from allocator.solvers import core, persisting
from allocator.solvers.branching import branch
from allocator.solvers.ejection import STYLES, chain_round, first_rounds, states_of
from allocator.solvers.neighbourhoods import Neighbourhoods, News, restricted
from allocator.solvers.programs import Ending, Halt, Program


def knapsacks(users: int, coupons: int, resources: int, seed: int) -> tuple[pd.DataFrame, list[Limit]]:
    """Return offers of which every user must get one, within so many resources."""
    rng = np.random.default_rng(seed)
    size = users * coupons
    uses = rng.integers(0, 20, (resources, size)).astype(float)
    columns = {f"r{j}": row for j, row in enumerate(uses)}
    offers = pd.DataFrame(
        {
            "user_id": np.repeat(np.arange(users), coupons),
            "coupon": np.tile([f"c{k}" for k in range(coupons)], users),
            "value": uses.sum(axis=0) / resources + rng.integers(0, 20, size),
            "cost": np.zeros(size),
            **columns,
        }
    )
    limits = [Limit("everyone", "count", at_least=float(users))]
    limits += [Limit(name, name, at_most=float(np.floor(0.45 * 20 * users))) for name in columns]
    return offers, limits


def best_value(offers: pd.DataFrame, limits: list[Limit], users: int) -> float:
    """Return the optimum by another solver on the whole model."""
    place = np.arange(len(offers))
    one = np.zeros((users, len(offers)))
    one[offers["user_id"], place] = 1.0
    uses = np.array([offers[limit.name].to_numpy() for limit in limits[1:]])
    answer = milp(
        -offers["value"].to_numpy(),
        constraints=[
            LinearConstraint(one, 1.0, 1.0),
            LinearConstraint(uses, -np.inf, [float(limit.at_most or 0.0) for limit in limits[1:]]),
        ],
        integrality=np.ones(len(offers)),
        bounds=Bounds(0.0, 1.0),
        options={"mip_rel_gap": 0.0},
    )
    return float("nan") if answer.x is None else -float(answer.fun)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(users=st.integers(2, 12), coupons=st.integers(2, 4), resources=st.integers(1, 4), seed=st.integers(0, 10**6))
def test_everyone_gets_one_within_many_resources(users: int, coupons: int, resources: int, seed: int) -> None:
    offers, limits = knapsacks(users, coupons, resources, seed)
    problem = Problem.from_offers(offers, limits=limits)
    result = solve(problem, time_limit=20.0)
    expected = best_value(offers, limits, users)
    verify(problem, result)
    if np.isnan(expected):
        assert result.status is Status.INFEASIBLE
    else:
        assert result.status is Status.OPTIMAL
        assert result.objective == pytest.approx(expected, abs=0.01)


def test_stopped_in_a_hard_search_it_still_has_a_valid_plan_and_bound() -> None:
    offers, limits = knapsacks(users=100, coupons=8, resources=10, seed=0)
    problem = Problem.from_offers(offers, limits=limits)
    result = solve(problem, time_limit=4.0)
    assert verify(problem, result).price_bound >= result.bound >= result.objective > 0
    assert len(result.plan) == 100


def small_program(
    users: int, coupons: int, room: float, seed: int, *, must: bool = False
) -> tuple[Program, np.ndarray]:
    """Return one knapsack over users who take one offer at most (or exactly), and each column's user."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(users), coupons)
    matrix = np.vstack([rng.integers(1, 9, users * coupons), (owner[None, :] == np.arange(users)[:, None])])
    program = Program(
        objective=rng.integers(1, 30, users * coupons).astype(float),
        matrix=_sparse(matrix),
        lower=np.concatenate([[-np.inf], np.full(users, 1.0 if must else -np.inf)]),
        upper=np.concatenate([[room], np.ones(users)]),
        ceiling=np.ones(users * coupons),
        integer=np.ones(users * coupons, dtype=bool),
    )
    return program, owner


def optimum(program: Program) -> float:
    """Return a program's optimum by another solver."""
    answer = milp(
        -program.objective,
        constraints=LinearConstraint(program.matrix, program.lower, program.upper),
        integrality=program.integer.astype(float),
        bounds=Bounds(0.0, program.ceiling),
        options={"mip_rel_gap": 0.0},
    )
    return -float(answer.fun)


def keeps(program: Program, x: np.ndarray) -> bool:
    """Tell whether a point keeps every row."""
    used = program.matrix @ x
    return bool((used <= program.upper).all() and (used >= program.lower).all())


@pytest.mark.parametrize("chains", [False, True])
def test_neighbourhoods_only_ever_improve(chains: bool) -> None:
    """From everyone's cheapest choice to the optimum of a small program, every row kept, with chains and without."""
    program, owner = small_program(users=12, coupons=4, room=40.0, seed=1)
    best = optimum(program)
    search = Neighbourhoods(
        program,
        owner,
        np.zeros(owner.size),
        best,
        0.5,
        lambda x: keeps(program, x),
        deadline=np.inf,
        seed=0,
        states=states_of(program, owner, np.array([2.0])) if chains else None,
    )
    found = search.improve(np.zeros(owner.size), Halt())
    assert program.objective @ found == pytest.approx(best)
    assert keeps(program, found)


@pytest.mark.parametrize("must", [False, True])
def test_chains_find_the_optimum_of_a_small_program(must: bool) -> None:
    """From the best choices at the prices, which break the limit: what comes out keeps it and is the optimum."""
    program, owner = small_program(users=12, coupons=4, room=36.0, seed=3, must=must)
    states = states_of(program, owner, np.array([2.0]))
    assert states is not None
    value, current = first_rounds(states, states.best(), work=2e5, seed=0, deadline=np.inf)
    x = states.point(current, owner.size)
    assert keeps(program, x)
    assert value == program.objective @ x == pytest.approx(optimum(program))
    again, same = first_rounds(states, states.best(), work=2e5, seed=0, deadline=np.inf)
    assert again == value and (same == current).all(), "the same seed walks the same way"


def test_a_point_and_its_states_are_the_same() -> None:
    program, owner = small_program(users=5, coupons=3, room=20.0, seed=2)
    states = states_of(program, owner, np.array([1.0]))
    assert states is not None
    x = np.zeros(owner.size)
    x[[1, 3, 14]] = 1.0
    assert states.point(states.at(x), owner.size).tolist() == x.tolist()
    near = states.near(0.0, states.at(x))
    assert near.point(near.at(x), owner.size).tolist() == x.tolist(), "what is kept stays, whatever it loses"


def test_users_of_several_offers_have_no_states() -> None:
    program, owner = small_program(users=5, coupons=3, room=20.0, seed=2)
    wide = dataclasses.replace(program, upper=np.append(program.upper[:1], np.full(5, 2.0)))
    assert states_of(wide, owner, np.array([1.0])) is None


def test_stopped_chains_return_at_once() -> None:
    program, owner = small_program(users=12, coupons=4, room=36.0, seed=3)
    states = states_of(program, owner, np.array([2.0]))
    assert states is not None
    halt, flag = Halt(), np.zeros(1, np.uint8)
    with halt.sets(flag):
        halt.now()
    value, _ = chain_round(states, states.best(), STYLES[0], 1e15, 0, flag)
    assert value == -np.inf


def test_both_copies_of_highs_live_in_one_process_and_say_nothing() -> None:
    """OR-Tools brings a HiGHS of its own; a greeting on standard output would break `--json`. A fresh process shows both."""
    code = (
        "from allocator.solvers.loading import model_builder\n"
        "model_builder().ModelSolverHelper('highs')\nimport highspy\nhighspy.Highs()"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert run.stdout == ""


def test_branch_and_bound_starts_from_a_plan_and_ends_when_asked() -> None:
    program, _ = small_program(users=12, coupons=4, room=36.0, seed=3, must=True)
    answer = branch(program, time_limit=20.0, absolute_gap=1e-6)
    assert answer.ending is Ending.OPTIMAL
    assert answer.objective == answer.bound == pytest.approx(optimum(program))
    assert branch(program, time_limit=20.0, absolute_gap=1e-6, hint=answer.x).objective == answer.objective
    halted = Halt()
    halted.now()
    assert branch(program, time_limit=20.0, absolute_gap=1e-6, halt=halted).x is None
    nowhere = dataclasses.replace(program, upper=np.append([1.0], program.upper[1:]))
    assert branch(nowhere, time_limit=20.0, absolute_gap=1e-6).ending is Ending.INFEASIBLE


def test_branch_and_bound_tells_what_it_finds_on_the_way() -> None:
    program, _ = small_program(users=12, coupons=4, room=36.0, seed=3, must=True)
    told: list[float] = []

    def tell(x: np.ndarray) -> None:
        assert keeps(program, x)
        told.append(float(program.objective @ x))

    answer = branch(program, time_limit=20.0, absolute_gap=1e-6, found=tell)
    assert told, "it says so at least once"
    assert told == sorted(told)
    assert told[-1] <= answer.objective + 1e-6


def test_neighbourhoods_go_on_from_what_another_search_found() -> None:
    program, owner = small_program(users=12, coupons=4, room=40.0, seed=1)
    start, best = np.zeros(owner.size), optimum(program)
    alone = Neighbourhoods(
        program, owner, np.zeros(owner.size), best, 0.5, lambda x: keeps(program, x), deadline=np.inf, seed=0
    )
    found = alone.improve(start, Halt())
    news = News(start, 0.0)
    news.tell(found, best)
    news.tell(start, 0.0)
    assert news.x is found, "a worse point is no news"
    told = dataclasses.replace(alone, bound=best + 10.0, deadline=working_time() + 0.2, news=news)
    assert program.objective @ told.improve(start, Halt()) == pytest.approx(best)


def test_entangled_limits_beyond_small_cores_are_proven_the_same_way_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Branch and bound among a few offers a user, then on all that may differ: its end is the optimum, and one plan."""
    monkeypatch.setattr(core, "FINAL_NODES", 1)
    monkeypatch.setattr(core, "MOST_NODES", 1)
    monkeypatch.setattr(persisting, "FIRST_WORK", 1e5)
    monkeypatch.setattr(persisting, "CLOSEST", 2)
    branched, calls = persisting._branched, []
    monkeypatch.setattr(persisting, "_branched", lambda *given: calls.append(1) or branched(*given))
    offers, limits = knapsacks(users=10, coupons=6, resources=3, seed=0)
    problem = Problem.from_offers(offers, limits=limits)
    one, two = (solve(problem, time_limit=50.0) for _ in range(2))
    assert len(calls) == 2
    assert one.status is two.status is Status.OPTIMAL
    assert one.objective == pytest.approx(best_value(offers, limits, 10), abs=0.01)
    assert verify(problem, one).price_bound >= one.bound >= one.objective
    assert one.plan.offer.tolist() == two.plan.offer.tolist()


def test_a_restricted_program_counts_what_is_fixed() -> None:
    program = Program(
        objective=np.array([3.0, 2.0, 1.0]),
        matrix=_sparse(np.array([[2.0, 2.0, 2.0], [1.0, 0.0, 0.0]])),
        lower=np.array([-np.inf, 1.0]),
        upper=np.array([5.0, 1.0]),
        ceiling=np.ones(3),
        integer=np.ones(3, dtype=bool),
    )
    rest = restricted(program, np.array([1.0, 0.0, 0.0]), np.array([False, True, True]))
    assert rest.upper.tolist() == [3.0], "the first offer takes 2 of 5, and the second row has nothing open"
    assert rest.objective.tolist() == [2.0, 1.0]


def _sparse(matrix: np.ndarray) -> object:
    import scipy.sparse as sp

    return sp.csr_matrix(matrix.astype(float))
