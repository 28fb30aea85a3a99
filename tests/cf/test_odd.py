"""Odd inputs: each is met with words, or counted, never with a crash or a silent guess."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import cf
from cf import storage
from cf.models import blending
from tests.cf.worlds import log, market, tiny

ONE = np.array([1])
DAY_ONE = np.array([1.0])


def events(user: object, **others: object) -> cf.Events:
    ids = np.asarray(user)
    columns = {"item": np.arange(len(ids)), "time": np.ones(len(ids))} | others
    return cf.Events(ids, **columns)  # type: ignore[arg-type]


def refused() -> dict[str, tuple[Callable[[], object], str]]:
    """Return what is refused, and a word of what is said."""
    x = log(market(users=40), now=200)
    model = cf.Popularity().fit(x)
    lists = pd.Series([[1, 2], [1, 3]]).to_numpy()
    return {
        "infinite ids": (lambda: events([np.inf, 1.0]), "infinite"),
        "infinite beside missing ids": (lambda: events([np.inf, np.nan]), "infinite"),
        "fractions beside missing ids": (lambda: events([1.5, np.nan]), "fractions"),
        "ids beyond 63 bits": (lambda: events(np.array([2**64 - 1], np.uint64)), "at most"),
        "lists as ids": (lambda: cf.Interactions.of(events(lists)), "integers, text"),
        "two-dimensional times": (lambda: events([1, 2], time=np.ones((2, 1))), "shape"),
        "numbers for events": (lambda: cf.Interactions.of([1, 2]), "Events"),  # type: ignore[list-item]
        "no events at all": (lambda: cf.Interactions.of(5), "Events"),  # type: ignore[arg-type]
        "a table": (lambda: cf.Interactions.of(pd.DataFrame({"user": [1]})), "from_table"),
        "words for a time": (lambda: x.before("hello"), "no time"),
        "an end before the beginning": (lambda: x.between(100, 50), "before the beginning"),
        "visits that are no number": (lambda: x.last_visits(float("nan")), "whole numbers"),
        "visits below none": (lambda: x.without_last_visits(-1), "at least 0"),
        "users by fractions": (lambda: x.only(np.array([0.5])), "numbers"),
        "users by a mask": (lambda: x.only(np.ones(x.n_users, bool)), "mask"),
        "a fraction of an item": (lambda: cf.recommend(model, x, n=1.5), "whole number"),  # type: ignore[arg-type]
        "no item": (lambda: cf.recommend(model, x, n=0), "at least 1"),
        "no item of all": (lambda: cf.recommend_all(cf.ItemKNN().fit(x), x, n=0), "at least 1"),
        "no similar item": (lambda: cf.similar_items(cf.ItemKNN().fit(x), 11, n=0), "at least 1"),
        "half a neighbour": (lambda: cf.ItemKNN(k=2.5), "whole number"),  # type: ignore[arg-type]
        "groups of other items": (lambda: cf.Scopes.by_group(x.items, [1, 2]), "shape"),
        "a split after the end of time": (lambda: cf.TemporalSplit(at=10**9).of(x), "no user has an event"),
    }


@pytest.mark.parametrize("what", list(refused()))
def test_what_makes_no_sense_is_refused_with_words(what: str) -> None:
    act, word = refused()[what]
    with pytest.raises(cf.CfError, match=word):
        act()


def test_amounts_too_large_for_four_bytes_are_faults() -> None:
    x = cf.Interactions.of(events([1, 2], money=np.array([1e300, 1.0])))
    assert x.faults.total == 1
    assert len(x) == 1


def test_nothing_bought_is_judged_without_an_auc() -> None:
    x = log(tiny(), now=41)
    scopes = cf.Scopes.of(x.items, {"milk": ["milk"], "tea": ["tea"]})
    said = cf.Foretold(x.users.values, np.full((3, 2), 0.1, np.float32), None)
    judged = cf.judge(said, x, x.between(100, 110), scopes, repeats=3)
    assert np.isnan(judged.auc.mean)
    assert np.isnan(judged.auc.low)
    assert judged.log_loss.mean == pytest.approx(-np.log(0.9), rel=1e-5)


@pytest.mark.parametrize("page", [b"null", b"[1]", b'{"array": 0, "text": false}'])
def test_a_page_that_holds_no_model_is_refused_though_its_digest_fits(page: bytes, tmp_path: Path) -> None:
    """A file whose digest was made anew still has to hold what its head says."""
    path = tmp_path / "model.cf"
    cf.save(cf.Popularity().fit(log(tiny(), now=41)), path)
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    head = json.loads(parts["head.json"])
    arrays = [parts[f"{number}.npy"] for number in range(head["arrays"])]
    made = io.BytesIO()
    for name, content in {
        "a class without fields": json.dumps({"class": head["class"], "fields": []}).encode(),
        "another page": page,
    }.items():
        head["sha256"] = storage.digest([content, *arrays])
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as file:
            for part, text in (parts | {"head.json": json.dumps(head).encode(), "model.json": content}).items():
                file.writestr(part, text)
        path.write_bytes(made.getvalue())
        with pytest.raises(cf.FileError):
            cf.load(path)
        assert name


def test_candidates_are_the_same_in_blocks_that_fit_many_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a million items a block has few users, so that its scores stay in bounds."""
    x = log(market(users=60), now=200)
    models: list[cf.Model] = [cf.Popularity().fit(x), cf.Frequency().fit(x)]
    users, targets = np.arange(50), x.matrix().astype(bool)
    whole = list(blending.candidate_blocks(models, targets, x, users, 5, False))
    monkeypatch.setattr(blending, "HELD", 2 * 7 * x.n_items)
    parts = list(blending.candidate_blocks(models, targets, x, users, 5, False))
    assert [part.number.size for part in parts] == [7] * 7 + [1]
    for name in ("features", "hit", "number"):
        assert np.array_equal(getattr(whole[0], name), np.concatenate([getattr(part, name) for part in parts]))
