from __future__ import annotations

import numpy as np
import pytest

from cf.errors import UsageError
from cf.ids import Ids
from cf.models import Frequency, Popularity
from cf.recommending import Diversity, Rules, goes_with, recommend
from tests.cf.worlds import log, market, tiny


def test_excluded_required_owned_and_allowed_items() -> None:
    x = log(tiny(), now=41)
    model = Frequency().fit(x)
    assert recommend(model, x, ["ann"], n=2).ids().tolist() == ["milk", "bread"]
    assert recommend(model, x, ["ann"], n=2, rules=Rules(exclude=["milk", "unheard of"])).ids().tolist()[0] == "bread"
    assert recommend(model, x, ["ann"], n=2, rules=Rules(require=["tea"])).ids().tolist() == ["tea", "milk"]
    assert set(recommend(model, x, ["ann"], n=4, rules=Rules(exclude_owned=True)).ids()) == {"eggs", "tea"}
    assert recommend(model, x, ["ann"], n=3, rules=Rules(only=["bread", "tea"])).ids().tolist() == ["bread", "tea"]
    with pytest.raises(UsageError, match="unknown users, such as 'dan'"):
        recommend(model, x, ["dan"])
    with pytest.raises(UsageError, match="n must be"):
        recommend(model, x, n=0)
    with pytest.raises(UsageError, match="distinct ones fit"):
        recommend(model, x, n=1, rules=Rules(require=["tea", "milk"]))


def test_what_a_model_has_no_word_on_is_ranked_by_popularity() -> None:
    x = log(tiny(), now=41)
    made = recommend(Frequency().fit(x), x, ["cat"], n=4)
    assert set(made.ids()[:2]) == {"tea", "milk"}
    assert made.ids()[2:].tolist() == ["bread", "eggs"]
    assert (made.scores[0, :2] > 0).all()
    assert (made.scores[0, 2:] <= 0).all()


def test_diversity_keeps_at_most_so_many_of_a_category() -> None:
    x = log(market(), now=200)
    group = ((np.arange(10, 70) - 10) % 6).astype(object)
    rule = Diversity(Ids(np.arange(10, 70)), group, most=1)
    made = recommend(Popularity().fit(x), x, n=6, rules=Rules(diversity=rule))
    assert all(np.unique((made.catalogue.values[row] - 10) % 6).size == 6 for row in made.items[:20])


def test_required_items_count_among_those_of_their_category() -> None:
    x = log(tiny(), now=41)
    kinds = Diversity(x.items, np.array(["dairy", "bakery", "dairy", "drink"], object), most=1)
    made = recommend(Popularity().fit(x), x, users=["ann"], n=3, rules=Rules(require=["eggs"], diversity=kinds))
    assert made.ids().tolist() == ["eggs", "bread", "tea"]


def test_what_contradicts_itself_or_is_empty_is_refused_with_words() -> None:
    x = log(tiny(), now=41)
    model = Popularity().fit(x)
    with pytest.raises(UsageError, match=r"both required and excluded, such as 'tea'"):
        recommend(model, x, rules=Rules(require=["tea"], exclude=["tea", "milk"]))
    with pytest.raises(UsageError, match="the basket is empty"):
        goes_with(model, [])
