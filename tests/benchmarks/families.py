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
    best_known: float  # of the value

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
    return Family(path.stem, np.array(user), np.array(coupon), table[:, 0], table[:, 1:].T.copy(), capacity, False, best_known)  # fmt: skip


def read_gap(path: Path, best_cost: float) -> Family:
    """Read agents m, jobs n; m rows of n costs; m rows of n uses; m capacities. Value = constant - cost."""
    numbers = np.array([float(word) for word in path.read_text().split()])
    agents, jobs = int(numbers[0]), int(numbers[1])
    size = agents * jobs
    cost = numbers[2 : 2 + size].reshape(agents, jobs)
    use = numbers[2 + size : 2 + 2 * size].reshape(agents, jobs)
    capacity = numbers[2 + 2 * size : 2 + 2 * size + agents]
    job, agent = np.divmod(np.arange(size), agents)
    constant = cost.max() + 1.0
    uses = np.where(agent[None, :] == np.arange(agents)[:, None], use[agent, job][None, :], 0.0)
    return Family(path.stem, job, agent, constant - cost[agent, job], uses, capacity, True, constant * jobs - best_cost)
