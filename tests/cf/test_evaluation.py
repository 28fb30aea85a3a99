from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from cf.errors import UsageError
from cf.evaluation import (
    RandomSplit,
    TemporalSplit,
    auc,
    bootstrap,
    bootstrap_ratio,
    brier,
    calibration,
    calibration_error,
    compare,
    log_loss,
)
from cf.evaluation.metrics import rank_metrics
from cf.models import Frequency, ItemKNN, Popularity
from tests.cf.worlds import log, market


def test_metrics_of_a_ranking_worked_by_hand() -> None:
    targets = sparse.csr_matrix(np.array([[1, 0, 1, 0, 1], [0, 1, 0, 0, 0]], bool))
    found = rank_metrics(np.array([[0, 1, 2], [0, 2, -1]]), targets)
    ideal = 1 + 1 / np.log2(3) + 1 / 2
    assert found["ndcg"].tolist() == pytest.approx([1.5 / ideal, 0.0])
    assert found["precision"].tolist() == pytest.approx([2 / 3, 0.0])
    assert found["recall"].tolist() == pytest.approx([2 / 3, 0.0])
    assert found["f1"].tolist() == pytest.approx([2 / 3, 0.0])
    assert found["map"].tolist() == pytest.approx([(1 + 2 / 3) / 3, 0.0])
    assert found["hit_rate"].tolist() == [1.0, 0.0]


def test_a_temporal_split_never_shows_the_future() -> None:
    x = log(market(), now=200)
    split = TemporalSplit(days=30, one_visit=0.1, nothing=0.05).of(x)
    assert split.known.time.max() < 170 * 86_400
    assert {s: int((split.segment == s).sum()) for s in ("new", "few-shot")}["new"] >= round(0.05 * split.users.size)
    visits = split.known.visits[split.users]
    assert (visits[split.segment == "new"] == 0).all()
    assert (visits[split.segment == "few-shot"] == 1).all()
    assert (visits[split.segment == "warm"] >= 2).all()
    with pytest.raises(UsageError, match="no user has an event"):
        TemporalSplit(at=10_000).of(x)


def test_a_random_split_holds_out_whole_pairs() -> None:
    x = log(market(), now=200)
    split = RandomSplit(0.3).of(x)
    both = split.known.matrix().multiply(split.targets)
    assert both.nnz == 0
    assert split.targets.nnz + split.known.matrix().nnz == x.matrix().nnz


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000))
def test_auc_and_losses_against_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    yes = rng.random(30) < 0.4
    p = rng.integers(1, 9, 30) / 10
    pairs = [(a > b) + 0.5 * (a == b) for a in p[yes] for b in p[~yes]]
    assert np.isnan(auc(yes, p)) if not pairs else auc(yes, p) == pytest.approx(np.mean(pairs))
    assert log_loss(yes, p) == pytest.approx(-np.mean(np.log(np.where(yes, p, 1 - p))))
    assert brier(yes, p) == pytest.approx(np.mean((p - yes) ** 2))


def test_calibration_is_small_where_probabilities_are_true() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(200_000)
    yes = rng.random(200_000) < p
    assert calibration_error(yes, p) < 0.006
    assert calibration_error(yes, p**2) > 0.1
    table = calibration(yes, p)
    assert len(table) == 10
    assert sum(row.low <= row.foretold <= row.high for row in table) >= 8


def test_bootstrap_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for repeat in range(200):
        found = bootstrap(rng.normal(1.0, 2.0, 100), repeats=300, seed=repeat)
        covered += found.low <= 1.0 <= found.high
    assert 0.88 <= covered / 200 <= 0.99
    base = rng.random(500)
    same = bootstrap_ratio(1.1 * base, base)
    assert same.low == pytest.approx(1.1)
    assert same.high == pytest.approx(1.1)


def test_compare_gives_a_table_by_segment() -> None:
    x = log(market(), now=200)
    split = TemporalSplit(days=30, one_visit=0.2, nothing=0.1)
    found = compare({"popular": Popularity(), "own": Frequency(), "items": ItemKNN(k=20)}, x, split)
    table = found.to_pandas()
    assert set(table["segment"]) == {"all", "warm", "few-shot", "new"}
    assert (table["ndcg_low"] <= table["ndcg"]).all()
    assert (table["ndcg"] <= table["ndcg_high"]).all()
    ratio = found["own"].ratio(found["popular"], segment="new")
    assert ratio.mean == pytest.approx(1.0)
    assert found.best().name in str(found)
    with pytest.raises(UsageError, match="no recommender 'x'"):
        found["x"]
    with pytest.raises(UsageError, match="no metric"):
        found["own"].mean("beauty")
