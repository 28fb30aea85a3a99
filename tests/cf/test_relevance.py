from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cf.boosting import Boosting
from cf.errors import UsageError
from cf.evaluation import calibration_error, log_loss
from cf.events import Events
from cf.interactions import Interactions
from cf.relevance import Relevance, RelevanceModel, Scopes, judge
from cf.relevance.crowd import crowd_of
from cf.relevance.features import NAMES, features
from cf.relevance.gathering import outcomes, sums
from cf.relevance.together import Together
from tests.cf.worlds import log, market, tiny

SMALL = Relevance(
    window=20.0,
    past_windows=4,
    boosting=Boosting(rounds=40, leaves=8, rate=0.1, least_rows=100),
    short=Boosting(rounds=30, leaves=6, rate=0.1, least_rows=100),
    spending=Boosting(rounds=20, leaves=6, rate=0.1, least_rows=50),
)


@pytest.fixture(scope="module")
def shop() -> Interactions:
    return log(market(users=400), now=200)


@pytest.fixture(scope="module")
def scopes(shop: Interactions) -> Scopes:
    return Scopes.of(
        shop.items, {f"group {g}": [10 + g, 16 + g, 22 + g] for g in range(6)} | {"all": np.arange(10, 70)}
    )


@pytest.fixture(scope="module")
def model(shop: Interactions, scopes: Scopes) -> RelevanceModel:
    return SMALL.fit(shop.before(180), scopes)


def test_sums_of_a_user_worked_by_hand() -> None:
    x = log(tiny(), now=41)
    found = sums(x, Scopes.of(x.items, {"milk": ["milk"], "food": ["milk", "bread", "eggs"]}))
    milk, food = found.pair[0]
    assert milk[0] == 3
    assert milk[1] == pytest.approx(0.5**4.0 + 0.5**3.3 + 0.5**2.6)
    assert milk[5:9].tolist() == [26, 33, 14, 3]
    assert food[0] == 4
    assert food[8] == 7
    assert found.user[0, 0] == 4
    assert found.user[0, 5:9].tolist() == [11, 40, 5, 2]
    assert found.pair[2, 0, 5] == 1
    bought, spent = outcomes(x.between(20, 41), Scopes.of(x.items, {"bread": ["bread"], "tea": ["tea"]}))
    assert bought.tolist() == [[True, False], [True, False], [False, True]]
    assert spent[2, 1] == 5


def test_features_look_at_nothing_from_now_on(shop: Interactions, scopes: Scopes) -> None:
    known = shop.before(120)
    late = Events(
        np.array([1_000, 1_001]), np.array([10, 11]), np.array([150.0, 121.0]), money=np.ones(2), quantity=np.ones(2)
    )
    more = shop.updated(late, now=200).before(120)
    crowds = [crowd_of(x, scopes, 20.0, 0) for x in (known, more)]
    a, b = (features(x, scopes, crowd, 20.0) for x, crowd in zip((known, more), crowds, strict=True))
    assert a.shape[2] == len(NAMES)
    assert np.array_equal(a, b, equal_nan=True)


def test_it_beats_the_base_rate_and_is_calibrated(shop: Interactions, scopes: Scopes, model: RelevanceModel) -> None:
    known, later = shop.before(180), shop.between(180, 200)
    found = model.predict(known)
    bought, _ = outcomes(later, scopes)
    base = np.broadcast_to(model.crowd.recent, bought.shape)
    assert log_loss(bought, found.probability) < 0.93 * log_loss(bought, base)
    assert calibration_error(bought, found.probability, 10) < 0.05
    assert found.spend is not None
    said = judge(found, known, later, scopes, repeats=20)
    assert said.log_loss.low < said.log_loss.mean < said.log_loss.high
    assert "calibration error" in str(said)


def test_users_without_history_get_the_rate_and_unknown_users_too(
    shop: Interactions, scopes: Scopes, model: RelevanceModel
) -> None:
    known = shop.before(180)
    for found in (model.predict(known.last_visits(0)), model.predict(known, users=[5, 6])):
        assert np.array_equal(found.probability, np.broadcast_to(model.crowd.recent, found.probability.shape))
    assert model.predict(known, users=[5]).users.tolist() == [5]


def test_joint_networks_speak_too_and_single_visits_are_brought_to_the_level_of_the_last_windows(
    shop: Interactions, scopes: Scopes, model: RelevanceModel
) -> None:
    single = shop.before(180).last_visits(1)
    found = model.predict(single).probability
    assert found[single.visits == 1].mean() == pytest.approx(model.crowd.level, abs=0.01)
    visit = model.joint.of_visit(single, scopes, model.crowd)
    assert model.joint.habits is not None
    assert visit is not None
    mute = replace(model, joint=Together(None, None)).predict(single).probability
    assert 0.0 < np.abs(found - mute).max() < 0.5


def test_blocks_and_later_events_change_nothing(shop: Interactions, model: RelevanceModel) -> None:
    together = model.predict(shop).probability
    some = shop.users.values[[3, 77, 200]]
    assert np.allclose(model.predict(shop, users=some).probability, together[[3, 77, 200]], atol=1e-5)
    assert np.allclose(model.predict(shop.before(180)).probability, together, atol=1e-6)


def test_other_scopes_need_no_new_fit_and_a_scope_never_bought_is_cold(
    shop: Interactions, model: RelevanceModel
) -> None:
    with_new = shop.updated(
        Events(np.array([5_000]), np.array([999]), np.array([199.5]), money=np.ones(1), quantity=np.ones(1))
    )
    other = Scopes.of(with_new.items, {"two": [10, 11], "cold": [999], "one": [10]})
    found = model.predict(shop.before(180), scopes=other).probability
    assert np.isfinite(found).all()
    assert ((found > 0) & (found < 1)).all()
    assert found[:, 1].mean() < found[:, 2].mean() < found[:, 0].mean() + 0.02


def test_the_same_seed_gives_the_same_probabilities(shop: Interactions, scopes: Scopes, model: RelevanceModel) -> None:
    again = SMALL.fit(shop.before(180), scopes)
    assert np.array_equal(again.predict(shop).probability, model.predict(shop).probability)


def test_what_cannot_be_learned_is_refused_with_words(scopes: Scopes) -> None:
    x = log(tiny(), now=41)
    food = Scopes.of(x.items, {"milk": ["milk"]})
    with pytest.raises(UsageError, match="less than two windows"):
        Relevance(window=28).fit(x, food)
    with pytest.raises(UsageError, match="no user has any event"):
        Relevance().fit(x.last_visits(0), food)
    with pytest.raises(UsageError, match="window must be"):
        Relevance(window=0)
    with pytest.raises(UsageError, match="no scopes"):
        Scopes.of(x.items, {})


def test_what_was_learned_serves_a_later_moment_and_other_scopes(shop: Interactions, model: RelevanceModel) -> None:
    other = Scopes.of(shop.items, {"group 0": [10, 16, 22], "two": [11, 12]})
    moved = model.boosters.at(shop, other)
    assert (moved.crowd.now, moved.scopes.names) == (shop.now, ("group 0", "two"))
    assert moved.chance is model.chance
    foretold = moved.predict(shop)
    bought, _ = outcomes(shop.between(np.datetime64(shop.now - 20 * 86_400, "s"), None), other)
    assert abs(foretold.probability.mean() - bought.mean()) < 0.05
    same = model.boosters.at(shop.before(180), model.scopes).predict(shop.before(180))
    assert np.array_equal(same.probability, model.predict(shop.before(180)).probability)
