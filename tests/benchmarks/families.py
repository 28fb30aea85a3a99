"""Public benchmark families, as limits: multiple-choice knapsacks (MMKP) and generalised assignment (GAP)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from allocator import Limit, Problem
from tests.benchmarks.models import Model

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"  # absent: these rows are skipped, and say so


@dataclass(frozen=True, eq=False)
class Family:
    """One instance: `user`, `coupon`, `value`, `(n,)`, and `uses`, `(resources, n)`, of every choice.

    A row of `scope` `(resources, n)` bool says which choices a resource's capacity is about. Every user gets one.
    """

    name: str
    user: np.ndarray
    coupon: np.ndarray
    value: np.ndarray
    uses: np.ndarray
    capacity: np.ndarray
    by_coupon: bool  # resource j is about coupon j alone
    best_known: float  # of the value, NaN where nobody has published one

    def problem(self) -> Problem:
        """Return it with columns as measures: a limit for each resource, and a count limit for all users."""
        import pandas as pd

        n_users = int(self.user.max()) + 1
        limits = [Limit("everyone", measure="count", at_least=float(n_users))]
        columns = (
            {"use": self.uses.sum(axis=0)} if self.by_coupon else {f"r{j}": row for j, row in enumerate(self.uses)}
        )
        for j, most in enumerate(self.capacity.tolist()):
            if self.by_coupon:
                limits.append(Limit(f"r{j}", measure="use", at_most=most, coupons=[f"c{j}"]))
            else:
                limits.append(Limit(f"r{j}", measure=f"r{j}", at_most=most))
        offers = pd.DataFrame(
            {
                "user_id": self.user,
                "coupon": [f"c{k}" for k in self.coupon.tolist()],
                "value": self.value,
                "cost": np.zeros(self.value.size),
                **columns,
            }
        )
        return Problem.from_offers(offers, limits=limits, max_per_user=1)

    def model(self) -> Model:
        """Return the whole model as peers get it: one equality a user."""
        import scipy.sparse as sp

        n_users = int(self.user.max()) + 1
        one = sp.csr_matrix((np.ones(self.user.size), (self.user, np.arange(self.user.size))))
        matrix = sp.csr_matrix(sp.vstack([sp.csr_matrix(self.uses), one]))
        lower = np.concatenate([np.full(self.capacity.size, -np.inf), np.ones(n_users)])
        return Model(self.value, matrix, lower, np.concatenate([self.capacity, np.ones(n_users)]))


def families() -> list[Family]:
    """Return every instance that is there, MMKP first."""
    found = []
    for folder, read in (("mmkp", read_mmkp), ("gap", read_gap)):
        table = DATA / folder / "best_known.csv"
        if table.exists():
            rows = [line.split(",") for line in table.read_text().splitlines()[1:]]
            found += [read(DATA / folder / row[0], float(row[1])) for row in rows]
    return found


def read_mmkp(path: Path, best_known: float) -> Family:
    """Read classes, resources; capacities; then for each class its number of items, and profit and weights of each."""
    numbers = [float(word) for word in path.read_text().split()]
    classes, resources = int(numbers[0]), int(numbers[1])
    capacity, at = np.array(numbers[2 : 2 + resources]), 2 + resources
    user, coupon, rows = [], [], []
    for i in range(classes):
        items = int(numbers[at])
        at += 1
        for k in range(items):
            user.append(i)
            coupon.append(k)
            rows.append(numbers[at : at + 1 + resources])
            at += 1 + resources
    table = np.array(rows)
    return Family(
        path.stem, np.array(user), np.array(coupon), table[:, 0], table[:, 1:].T.copy(), capacity, False, best_known
    )


def read_gap(path: Path, best_cost: float) -> Family:
    """Read agents m, jobs n; m rows of n costs; m rows of n uses; m capacities. Value = constant - cost."""
    numbers = np.array([float(word) for word in path.read_text().split()])
    agents, jobs = int(numbers[0]), int(numbers[1])
    size = agents * jobs
    cost = numbers[2 : 2 + size].reshape(agents, jobs)
    use = numbers[2 + size : 2 + 2 * size].reshape(agents, jobs)
    capacity = numbers[2 + 2 * size : 2 + 2 * size + agents]
    return _assigned(path.name, cost, use, capacity, best_cost)


def _assigned(name: str, cost: np.ndarray, use: np.ndarray, capacity: np.ndarray, best_cost: float) -> Family:
    """Return an assignment of jobs to agents from `cost` and `use`, `(agents, jobs)`. Value = constant - cost."""
    agents, jobs = cost.shape
    job, agent = np.divmod(np.arange(cost.size), agents)
    constant = cost.max() + 1.0
    uses = np.where(agent[None, :] == np.arange(agents)[:, None], use[agent, job][None, :], 0.0)
    return Family(name, job, agent, constant - cost[agent, job], uses, capacity, True, constant * jobs - best_cost)


def generated() -> list[Family]:
    """Return instances that no paper has printed, from the generators of those that have: nothing is tuned on them."""
    return [
        *(assignment(kind, agents, jobs, seed) for kind, agents, jobs, seed in GENERATED_GAP),
        *(choices(classes, items, 10, seed, tight=tight) for classes, items, seed, tight in GENERATED_MMKP),
    ]


GENERATED_GAP = (
    ("c", 15, 150, 1),
    ("d", 10, 100, 2),
    ("d", 15, 200, 3),
    ("e", 10, 100, 4),
    ("e", 15, 200, 5),
    ("e", 20, 150, 6),
)
GENERATED_MMKP = ((150, 10, 7, False), (70, 10, 8, True))


def assignment(kind: str, agents: int, jobs: int, seed: int) -> Family:
    """Make a generalised assignment problem of a published type.

    C and D: Chu & Beasley, *A genetic algorithm for the generalised assignment problem*, Comput. Oper. Res. 24, 1997,
    doi:10.1016/S0305-0548(96)00032-9. E: Laguna et al., *Tabu search for the multilevel generalized assignment problem*,
    EJOR 82, 1995, doi:10.1016/0377-2217(93)E0174-V.
    """
    rng = np.random.default_rng(seed)
    shape = (agents, jobs)
    if kind == "c":
        use, cost = rng.integers(5, 26, shape), rng.integers(10, 51, shape)
    elif kind == "d":
        use = rng.integers(1, 101, shape)
        cost = 111 - use + rng.integers(-10, 11, shape)
    else:
        share = 1.0 - 10.0 * np.log(1.0 - rng.random(shape))
        use = np.maximum(1, np.rint(share)).astype(int)
        cost = np.maximum(1, np.rint(1000.0 / share - 10.0 * rng.random(shape))).astype(int)
    capacity = np.floor(0.8 * use.sum(axis=1) / agents)
    return _assigned(f"gap_{kind}_{agents}_{jobs}_{seed}", cost.astype(float), use.astype(float), capacity, np.nan)


def choices(classes: int, items: int, resources: int, seed: int, *, tight: bool) -> Family:
    """Make a multiple-choice knapsack as Khan, Li, Manning & Akbar (Studia Informatica 2, 2002) do.

    Uses are whole numbers below 10, profit is the uses at a random worth of each resource plus noise, and capacities are
    half the most that could be used, or in `tight` ones random shares about what choices at random would use.
    """
    rng = np.random.default_rng(seed)
    size = classes * items
    uses = rng.integers(0, 10, (resources, size)).astype(float)
    value = rng.integers(1, 10, resources) @ uses + rng.integers(0, 31, size)
    share = rng.uniform(0.75, 1.05, resources) * 4.5 if tight else np.full(resources, 5.0)
    user, coupon = np.divmod(np.arange(size), items)
    name = f"mmkp_{classes}_{items}_{seed}"
    return Family(name, user, coupon, value, uses, np.floor(share * classes), False, np.nan)
