from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cf.errors import FileError
from cf.interactions import Interactions
from cf.models import Als, Frequency, Hybrid, ItemKNN, Model, Popularity, Recommender, UserKNN
from cf.models.knn import ItemKNNModel
from cf.neighbours import BM25
from cf.recommending import recommend
from cf.relevance import RelevanceModel
from cf.storage import load, save
from tests.cf.test_models import RECOMMENDERS
from tests.cf.test_relevance import SMALL, Scopes
from tests.cf.worlds import log, market, tiny


@pytest.mark.parametrize("name", list(RECOMMENDERS))
def test_a_loaded_model_scores_as_the_saved_one(name: str, tmp_path: Path) -> None:
    x = log(market(users=120), now=200)
    model = RECOMMENDERS[name].fit(x)
    save(model, tmp_path / "model.cf")
    back: Model = load(tmp_path / "model.cf")
    x = x.aligned(model.items)
    assert np.array_equal(model.scores(x, np.arange(9)), back.scores(x, np.arange(9)))


def test_text_ids_parameters_interactions_and_relevance_come_back(tmp_path: Path) -> None:
    x = log(tiny(), now=41)
    path = tmp_path / "x.cf"
    save(Frequency().fit(x), path)
    assert recommend(load(path), x, ["ann"], n=1).ids().tolist() == ["milk"]
    rule: Recommender = Hybrid({"a": Popularity(), "b": UserKNN(reweighting=BM25())})
    save(rule, path)
    assert load(path) == rule
    save(x, path)
    assert load(path, Interactions).users.values.tolist() == ["ann", "bob", "cat"]
    shop = log(market(users=150), now=200)
    model = SMALL.fit(shop, Scopes.by_group(shop.items, shop.items.values % 4))
    save(model, path)
    assert np.array_equal(load(path, RelevanceModel).predict(shop).probability, model.predict(shop).probability)


def test_corrupt_foreign_and_other_files_are_refused_with_words(tmp_path: Path) -> None:
    path = tmp_path / "model.cf"
    save(ItemKNN().fit(log(tiny(), now=41)), path)
    assert isinstance(load(path, ItemKNNModel), ItemKNNModel)
    with pytest.raises(FileError, match="holds a ItemKNNModel, not a Als"):
        load(path, Als)
    whole = path.read_bytes()
    for cut in (10, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:cut])
        with pytest.raises(FileError, match="damaged"):
            load(path)
    spoiled = bytearray(whole)
    spoiled[len(whole) // 3] ^= 0xFF
    path.write_bytes(bytes(spoiled))
    with pytest.raises(FileError):
        load(path)
    with pytest.raises(FileError, match="no file"):
        load(tmp_path / "absent.cf")
    path.write_text("hello")
    with pytest.raises(FileError, match="not a model of cf"):
        load(path)


def test_a_later_version_and_a_tampered_page_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.cf"
    save(Popularity().fit(log(tiny(), now=41)), path)
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    head = json.loads(parts["head.json"])

    def rewrite(**changed: bytes) -> None:
        with zipfile.ZipFile(path, "w") as file:
            for name, part in (parts | {key.replace("_", "."): value for key, value in changed.items()}).items():
                file.writestr(name, part)

    rewrite(head_json=json.dumps(head | {"version": 99}).encode())
    with pytest.raises(FileError, match="version 99"):
        load(path)
    rewrite(model_json=parts["model.json"].replace(b"Popularity", b"Unpopular"))
    with pytest.raises(FileError, match="digest"):
        load(path)
