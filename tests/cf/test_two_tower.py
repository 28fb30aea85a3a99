from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cf.evaluation import TemporalSplit, evaluate
from cf.models import Attributes, Model, Popularity, TwoTower
from cf.recommending import recommend
from cf.storage import load, save
from tests.cf.test_models import ATTRIBUTES, stranger
from tests.cf.worlds import log, market

USERS = Attributes.of(np.arange(1_000, 1_300), categorical={"region": np.arange(300) % 3})


def test_importing_cf_imports_no_heavy_library() -> None:
    heavy = (
        "import cf, sys; sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'lightgbm', 'sklearn')))"
    )
    assert subprocess.run([sys.executable, "-c", heavy], check=False).returncode == 0


@pytest.mark.slow
def test_two_towers_sit_the_exam_and_serve_new_users_and_new_items(tmp_path: Path) -> None:
    x = log(market(), now=200)
    split = TemporalSplit(days=40, nothing=0.1).of(x)
    rule = TwoTower(items=ATTRIBUTES, users=USERS, size=12, hidden=16, batch=128, negatives=40, epochs=6, window=20.0)
    model = rule.fit(split.known)
    assert isinstance(model, Model)
    popular = evaluate("popular", Popularity().fit(split.known), split)
    found = evaluate("towers", model, split)
    assert found.metrics["ndcg"].mean() > 1.05 * popular.metrics["ndcg"].mean()
    known = split.known.aligned(model.items)
    scores = model.scores(known, np.arange(6))
    assert np.isfinite(scores).all()
    assert np.allclose(model.scores(known, np.array([4])), scores[4], rtol=1e-3)
    assert scores[:, model.items.find([70])[0]].min() > 0  # nobody has had it; its attributes speak for it
    assert (recommend(model, stranger(x), n=5).items >= 0).all()
    reasons = model.reasons(known, 2, 3)
    assert sum(reason.contribution for reason in reasons) == pytest.approx(model.scores(known, np.array([2]))[0, 3])
    again = rule.fit(split.known)
    assert np.allclose(again.scores(known, np.arange(6)), scores, rtol=1e-2)
    save(model, tmp_path / "towers.cf")
    back: Model = load(tmp_path / "towers.cf")
    assert np.array_equal(back.scores(known, np.arange(6)), scores)
