"""The parts of the stack, each on what it is for."""

from __future__ import annotations

import numpy as np
import pytest

from uplift.kernels import best_splits, histograms
from uplift.links import Link
from uplift.network.structure import Structure, blend, steps_taken
from uplift.stacking import fit_stack
from uplift.trees import N_BINS, Growth, Sample, bin_edges, binned, grow_out_of_fold
from uplift.trial import Terms
from uplift.wide import diagonal_basis, fit_wide, fold_moments

SHARE = np.array([0.25, 0.25, 0.25, 0.25])
LINK = Link(binary=True)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def drawn(effect: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Arms, centred arms, outcomes and offsets of users with these effects `(n, 3)` on the log odds."""
    rng = np.random.default_rng(seed)
    n = effect.shape[0]
    arm = rng.permutation(np.arange(n) % 4)
    design = np.eye(4)[arm][:, 1:] - 0.25
    offset = np.full(n, -1.0)
    outcome = (rng.random(n) < sigmoid(offset + (design * effect).sum(axis=1))).astype(float)
    return arm, design, outcome, offset


def test_the_wide_candidate_learns_that_coupons_go_together() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60_000, 6)).astype(np.float32)
    effect = 0.4 * x[:, :1] * np.array([1.0, 1.0, 1.0])
    arm, design, outcome, offset = drawn(effect)
    fold = np.arange(60_000) % 2
    moments = fold_moments(x, outcome, offset, design, np.ones(60_000), fold, LINK)
    fit = fit_wide(moments[0] + moments[1], SHARE)
    assert np.corrcoef(fit.predict(x).ravel(), effect.ravel())[0, 1] > 0.98
    deviation = np.sqrt(np.diag(fit.relation))
    assert (fit.relation / np.outer(deviation, deviation)).min() > 0.8
    assert arm.max() == 3


def test_the_diagonal_basis_whitens_the_arms_and_their_prior() -> None:
    relation = np.array([[1.2, 0.4, 0.1], [0.4, 0.9, 0.3], [0.1, 0.3, 0.9]])
    basis, spread = diagonal_basis(SHARE, relation)
    arms = np.diag(SHARE[1:]) - np.outer(SHARE[1:], SHARE[1:])
    np.testing.assert_allclose(basis.T @ arms @ basis, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(basis.T @ np.linalg.inv(relation) @ basis, np.diag(spread), atol=1e-9)


@pytest.mark.slow
def test_trees_find_a_box_that_no_line_can() -> None:
    rng = np.random.default_rng(2)
    x = rng.random((40_000, 4)).astype(np.float32)
    inside = (x[:, 0] > 0.5) & (x[:, 1] > 0.5)
    effect = 0.8 * inside[:, None] * np.ones(3)
    arm, _, outcome, offset = drawn(effect)
    edges = bin_edges(x)
    basis, spread = diagonal_basis(SHARE, 0.9 + 0.1 * np.eye(3))
    sample = Sample(
        binned(x, edges), outcome, offset, arm, np.ones(40_000), (np.eye(4)[:, 1:] - 0.25) @ basis, spread, LINK, 1.0
    )
    fold = rng.integers(0, 2, 40_000)
    forests = grow_out_of_fold(sample, edges, fold, basis, Growth(trees=25), seed=0)
    predicted = forests[0].predict(x).mean(axis=1)
    # Few trees, each shrunk: the shape is there, the height comes with the weight of the stack.
    assert predicted[inside].mean() > 3 * abs(predicted[~inside].mean())


def test_trees_stop_at_none_where_nothing_is_to_be_found() -> None:
    rng = np.random.default_rng(3)
    x = rng.random((4_000, 4)).astype(np.float32)
    arm, _, outcome, offset = drawn(np.zeros((4_000, 3)), seed=5)
    edges = bin_edges(x)
    sample = Sample(
        binned(x, edges), outcome, offset, arm, np.ones(4_000), np.eye(4)[:, 1:] - 0.25, np.ones(3), LINK, 1.0
    )
    forests = grow_out_of_fold(sample, edges, np.arange(4_000) % 2, np.eye(3), Growth(), seed=0)
    assert np.abs(forests[0].predict(x)).max() < 0.3


def test_histograms_and_splits_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(4)
    n, nodes = 300, 2
    bins = rng.integers(0, N_BINS, (3, n)).astype(np.uint8)
    node = rng.integers(0, nodes, n).astype(np.int32)
    score = rng.normal(size=(n, 2)).astype(np.float32)
    size = rng.random(n).astype(np.float32)
    rows = np.flatnonzero(rng.random(n) < 0.7)
    sums = histograms(bins, rows, node, score, size, np.array([0, 2]), nodes, N_BINS)
    shrink = np.array([1.0, 2.0])
    where, cut, gain = best_splits(sums, shrink, 5.0)
    for j in range(nodes):
        mine = rows[node[rows] == j]
        best = 0.0
        for f in (0, 2):
            for b in range(N_BINS - 1):
                left = bins[f, mine] <= b
                parts = [mine[left], mine[~left]]
                if min(size[part].sum() for part in parts) < 5.0:
                    continue
                value = sum((score[p].sum(axis=0) ** 2 / (size[p].sum() + shrink)).sum() for p in parts)
                best = max(best, float(value - (score[mine].sum(axis=0) ** 2 / (size[mine].sum() + shrink)).sum()))
        assert gain[j] == pytest.approx(best, rel=1e-4)
    assert where.max() < 2
    assert cut.max() < N_BINS


def test_the_stack_believes_what_helps_and_drops_noise() -> None:
    rng = np.random.default_rng(6)
    effect = rng.normal(0.0, 0.4, (40_000, 1)) * np.ones(3) + np.array([0.1, 0.2, 0.3])
    _, design, outcome, offset = drawn(effect, seed=7)
    candidates = {"right": 2.0 * effect, "noise": rng.normal(0.0, 0.4, (40_000, 3))}
    stack = fit_stack(candidates, outcome, offset, design, np.ones(40_000), LINK)
    assert stack.weights["noise"] == 0.0
    assert stack.weights["right"] == pytest.approx(0.5, abs=0.08)  # its spread was twice the truth
    np.testing.assert_allclose(stack.combine(candidates, LINK, offset).mean(axis=0), [0.1, 0.2, 0.3], atol=0.08)


def test_where_nothing_works_nothing_is_promised() -> None:
    rng = np.random.default_rng(8)
    _, design, outcome, offset = drawn(np.zeros((40_000, 3)), seed=9)
    stack = fit_stack({"noise": rng.normal(0.0, 0.4, (40_000, 3))}, outcome, offset, design, np.ones(40_000), LINK)
    assert stack.weights == {"noise": 0.0}
    assert np.abs(stack.averages).max() < 1e-4
    assert min(stack.average_errors) > 0.02  # that nothing was found is not that nothing can be


def test_averages_that_count_for_nothing_leave_their_size_in_the_errors() -> None:
    _, design, outcome, offset = drawn(np.full((1_000, 3), 0.15), seed=2)
    stack = fit_stack({}, outcome, offset, design, np.ones(1_000), LINK)
    assert not stack.promises
    sure = fit_stack({}, outcome, offset, design, np.ones(1_000), LINK, doubt=False)
    np.testing.assert_allclose(stack.noise, sure.noise)
    assert (np.array(stack.average_errors) > np.array(stack.noise)).all()
    assert sure.average_errors == sure.noise


def test_few_placebos_promise_anything() -> None:
    promised = 0
    for seed in range(200):
        _, design, outcome, offset = drawn(np.zeros((2_000, 3)), seed)
        stack = fit_stack({}, outcome, offset, design, np.ones(2_000), LINK)
        promised += max(stack.averages) > 1e-3
    assert promised <= 6


def test_an_average_that_is_no_chance_is_promised_with_hardly_a_discount() -> None:
    kept = []
    for seed in range(20):
        _, design, outcome, offset = drawn(np.full((20_000, 3), 0.3), seed)
        stack = fit_stack({}, outcome, offset, design, np.ones(20_000), LINK)
        kept.append(np.mean(stack.averages))
    assert np.mean(kept) == pytest.approx(0.3, abs=0.03)


def test_coupons_share_steps_within_their_group() -> None:
    terms = Terms.create([5.0, 2.0, 3.0], ["a", "a", "b"])
    structure = Structure.of(terms)
    np.testing.assert_array_equal(np.array(structure.share), [[1, 0, 0], [1, 1, 0], [0, 0, 1]])
    assert structure.gap[1] == pytest.approx(np.log(3) / np.log(6))
    assert sum(structure.gap[:2]) == pytest.approx(1.0)  # the deepest coupon
    asked = Terms(np.array([3.0, 7.0]), np.array([0, 0]))
    share = steps_taken(terms, asked)
    assert 0 < share[0, 0] < 1
    assert share[1, 0] == 1.0
    assert share[0, 1] > 1.0  # beyond the deepest the last step goes on
    mixed = blend(terms, asked)
    np.testing.assert_allclose(mixed.sum(axis=0), 1.0)
    assert mixed[0, 1] == 1.0


def test_effects_that_add_up_on_the_outcomes_own_scale_are_not_promised_to_frequent_buyers() -> None:
    rng = np.random.default_rng(10)
    n = 60_000
    arm = rng.permutation(np.arange(n) % 4)
    chance = rng.uniform(0.03, 0.4, n)
    outcome = (rng.random(n) < chance + 0.06 * (arm > 0)).astype(float)
    design = np.eye(4)[arm][:, 1:] - 0.25
    offset = np.log((chance + 0.045) / (1 - chance - 0.045))
    promised = {}
    for scaled in (False, True):
        stack = fit_stack({}, outcome, offset, design, np.ones(n), LINK, scaled=scaled)
        effect = stack.combine({}, LINK, offset)
        start = offset + stack.level - effect.sum(axis=1) * 0.25
        uplift = sigmoid(start[:, None] + effect) - sigmoid(start)[:, None]
        promised[scaled] = uplift[chance > 0.3].mean()
    assert promised[False] > 0.075  # the log odds' own way to spread an average of 6 points
    assert promised[True] == pytest.approx(0.06, abs=0.008)


def test_a_coupon_whose_effects_do_not_differ_is_shrunk_without_the_others() -> None:
    rng = np.random.default_rng(11)
    believed = rng.normal(0.0, 0.5, (60_000, 3))
    _, design, outcome, offset = drawn(believed * np.array([0.0, 1.0, 1.0]) + 0.2, seed=12)
    stack = fit_stack({"u": believed}, outcome, offset, design, np.ones(60_000), LINK)
    weights = stack.weights["u"] * (np.array(stack.slopes) + stack.shared / 3)
    assert weights[0] < 0.3
    np.testing.assert_allclose(weights[1:], 1.0, atol=0.2)
    _, design, outcome, offset = drawn(believed + 0.2, seed=15)
    alike = fit_stack({"u": believed}, outcome, offset, design, np.ones(60_000), LINK)
    np.testing.assert_allclose(alike.slopes, 1.0, atol=0.05)  # errors alone explain how they differ


def test_of_candidates_that_are_as_good_none_takes_it_all() -> None:
    rng = np.random.default_rng(13)
    effect = rng.normal(0.0, 0.3, (40_000, 3))
    _, design, outcome, offset = drawn(effect, seed=14)
    blurred = {name: effect + rng.normal(0.0, 0.3, effect.shape) for name in ("a", "b")}
    stack = fit_stack(blurred, outcome, offset, design, np.ones(40_000), LINK)
    assert 0.6 < stack.weights["a"] / stack.weights["b"] < 1.6


def test_a_candidate_that_was_searched_for_on_the_same_users_must_earn_more() -> None:
    rng = np.random.default_rng(16)
    effect = rng.normal(0.0, 0.4, (6_000, 3))
    _, design, outcome, offset = drawn(0.25 * effect + 0.6, seed=1)
    plain = fit_stack({"u": effect}, outcome, offset, design, np.ones(6_000), LINK)
    searched = fit_stack({"u": effect}, outcome, offset, design, np.ones(6_000), LINK, searched=["u"])
    assert 5.0 < plain.gain < 9.0
    assert searched.gain == 0.0


def test_a_step_after_one_that_works_need_not_prove_it_again() -> None:
    _, design, outcome, offset = drawn(np.full((600, 3), 0.25), seed=3)
    doubted, trusted = (
        fit_stack({}, outcome, offset, design, np.ones(600), LINK, doubt=doubt) for doubt in (True, False)
    )
    assert not doubted.promises
    assert trusted.promises
    assert 0.0 < np.mean(trusted.averages) < 0.5
