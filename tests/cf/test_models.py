"""The exam that every recommender sits."""

from __future__ import annotations

import numpy as np
import pytest

from cf.boosting import Boosting
from cf.errors import UsageError
from cf.events import Events
from cf.ids import Ids
from cf.interactions import Interactions, Weighting
from cf.models import (
    Als,
    Attributes,
    Content,
    Ease,
    Frequency,
    Hybrid,
    ItemKNN,
    Model,
    Popularity,
    Recommender,
    Repeat,
    Segments,
    TifuKNN,
    UserKNN,
)
from cf.models.blending import Contest
from cf.neighbours import BM25, Cosine, Pearson, Plain, TfIdf
from cf.recommending import explain, goes_with, recommend, recommend_all, similar_items
from tests.cf.worlds import log, market, tiny

ITEMS = np.arange(10, 70)
ATTRIBUTES = Attributes.of(
    np.arange(10, 75),
    categorical={"group": (np.arange(10, 75) - 10) % 6},
    numeric={"price": np.arange(65.0)},
    text={"name": [f"item number {n % 9}" for n in range(65)]},
)
SEGMENTS = Segments(Ids(np.arange(1_000, 1_300)), np.array(["north", "south"], object)[np.arange(300) % 2])

RECOMMENDERS: dict[str, Recommender] = {
    "popularity": Popularity(),
    "popularity by segment": Popularity(segments=SEGMENTS),
    "frequency": Frequency(),
    "repeat": Repeat(window=20.0, boosting=Boosting(rounds=20, leaves=6, rate=0.1, least_rows=50)),
    "item-knn": ItemKNN(k=20),
    "item-knn pearson": ItemKNN(Pearson(shrinkage=5.0), k=20, own=0.0),
    "item-knn bm25": ItemKNN(k=20, reweighting=BM25()),
    "user-knn": UserKNN(k=20),
    "user-knn tf-idf": UserKNN(Cosine(2.0), k=20, reweighting=TfIdf(), own=1.0),
    "tifu-knn": TifuKNN(k=20),
    "ease": Ease(penalty=20.0, most_items=50),
    "als": Als(factors=8, passes=4, penalty=1.0),
    "content": Content(ATTRIBUTES),
    "hybrid": Hybrid(
        {
            "popular": Popularity(),
            "own": Frequency(),
            "als": Als(factors=8, passes=4, penalty=1.0),
            "near": UserKNN(k=20),
        }
    ),
}


@pytest.fixture(scope="module")
def shop() -> Interactions:
    return log(market(), now=200)


@pytest.fixture(scope="module", params=list(RECOMMENDERS))
def model(request: pytest.FixtureRequest, shop: Interactions) -> Model:
    return RECOMMENDERS[request.param].fit(shop)


def stranger(shop: Interactions) -> Interactions:
    """One user without history, and one basket of a user never seen."""
    basket = Events(
        np.array([7, 7]), np.array([10, 16]), np.array([199.0, 199.0]), money=np.ones(2), quantity=np.ones(2)
    )
    return Interactions.of(basket, now=200, users=[1_000_000], items=shop.items)


def test_it_satisfies_the_protocol(model: Model) -> None:
    assert isinstance(model, Model)
    assert model.popularity.shape == (len(model.items),)


def test_scores_are_finite_and_the_same_in_any_block(model: Model, shop: Interactions) -> None:
    shop = shop.aligned(model.items)
    together = model.scores(shop, np.arange(8))
    assert together.shape == (8, len(model.items))
    assert together.dtype == np.float32
    assert np.isfinite(together).all()
    assert np.allclose(model.scores(shop, np.array([5])), together[5], atol=1e-4)


def test_fitting_twice_gives_the_same(model: Model, shop: Interactions, request: pytest.FixtureRequest) -> None:
    again = RECOMMENDERS[request.node.callspec.params["model"]].fit(shop)
    shop = shop.aligned(model.items)
    assert np.array_equal(again.scores(shop, np.arange(5)), model.scores(shop, np.arange(5)))


def test_users_without_history_and_users_never_seen_are_served(model: Model, shop: Interactions) -> None:
    made = recommend(model, stranger(shop), n=5)
    assert (made.items >= 0).all()
    assert made.users.tolist() == [1_000_000, 7]
    assert all(np.unique(row).size == 5 for row in made.items)


def test_it_beats_chance_on_what_comes_next(shop: Interactions, request: pytest.FixtureRequest, model: Model) -> None:
    from cf.evaluation import TemporalSplit, evaluate

    split = TemporalSplit(days=40).of(shop)
    fitted = RECOMMENDERS[request.node.callspec.params["model"]].fit(split.known)
    found = evaluate("x", fitted, split, n=10).metrics["recall"].mean()
    assert found > 1.3 * 10 / len(ITEMS)


def test_contributions_add_up_to_the_score(model: Model, shop: Interactions) -> None:
    made = recommend(model, shop, users=[1_003, 1_010], n=4)
    for row, user in enumerate(made.users):
        for place, score in zip(made.items[row], made.scores[row], strict=True):
            if score <= 0:
                continue
            said = explain(model, shop, user, model.items.values[place])
            assert said.score == pytest.approx(score, rel=1e-3, abs=1e-5)
            assert sum(reason.contribution for reason in said.reasons) == pytest.approx(score, rel=2e-3, abs=1e-4)
            assert str(model.items.values[place]) in str(said)


def test_a_basket_is_answered_without_what_is_in_it(model: Model) -> None:
    made = goes_with(model, [10, 16], n=5)
    assert not np.isin(made.ids(), [10, 16]).any()
    assert made.ids().size == 5


def test_it_reads_a_history_whose_items_are_numbered_otherwise(model: Model, shop: Interactions) -> None:
    other = Interactions.of(
        Events(
            np.array([1, 1]), np.array([16, 9_999]), np.array([150.0, 150.0]), money=np.ones(2), quantity=np.ones(2)
        ),
        now=200,
    )
    made = recommend(model, other, n=3)
    assert (made.items >= 0).all()


def test_frequency_and_item_knn_follow_their_formulas() -> None:
    x = log(tiny(), now=41)
    frequency = Frequency(Weighting(half_life=10.0)).fit(x).scores(x, np.array([0]))[0]
    assert frequency[0] == pytest.approx(0.5**4.0 + 0.5**3.3 + 0.5**2.6)
    rule = Weighting(repeats="once")
    held = x.matrix(rule).toarray()
    unit = held / np.linalg.norm(held, axis=0)
    near = unit.T @ unit
    assert np.allclose(
        ItemKNN(Cosine(), k=9, own=1.0, normalised=False, weighting=rule).fit(x).scores(x, np.arange(3)),
        held @ near,
        atol=1e-6,
    )
    np.fill_diagonal(near, 0.0)
    assert np.allclose(
        ItemKNN(Cosine(), k=9, own=0.0, normalised=False, weighting=rule).fit(x).scores(x, np.arange(3)),
        held @ near,
        atol=1e-6,
    )


def test_item_knn_passes_on_as_much_from_every_item() -> None:
    x = log(market(users=60), now=200)
    model = ItemKNN(k=5, own=0.0).fit(x)
    assert np.allclose(np.asarray(model.spread.sum(axis=1)).ravel(), 1.0, atol=1e-5)
    own = ItemKNN(k=5, own=3.0).fit(x)
    assert np.allclose((own.spread - model.spread).toarray(), 3.0 * np.eye(x.n_items), atol=1e-6)


def tifu_vector(held: list[set[int]], width: int, rule: TifuKNN) -> np.ndarray:
    """Hu et al. 2020, equations 1 and 2, word by word: baskets, earliest first, in groups of equal size from the end."""
    size = -(-len(held) // rule.groups)
    groups = [held[max(end - size, 0) : end] for end in range(len(held), 0, -size)][::-1]
    made = []
    for group in groups:
        vector = np.zeros(width)
        for place, basket in enumerate(group):
            vector[sorted(basket)] += rule.within ** (len(group) - 1 - place) / len(group)
        made.append(vector)
    return sum(rule.across ** (len(made) - 1 - place) * vector / len(made) for place, vector in enumerate(made))


def test_tifu_knn_is_the_papers_formula_with_the_nearest_by_distance() -> None:
    x = log(market(users=40), now=200)
    rule = TifuKNN(k=6, groups=3, within=0.8, across=0.6, alpha=0.3)
    vectors = np.zeros((x.n_users, x.n_items))
    for user in range(x.n_users):
        time, item = (column[x.start[user] : x.start[user + 1]] for column in (x.time, x.item))
        moments = np.unique(time)
        vectors[user] = tifu_vector([set(item[time == t].tolist()) for t in moments], x.n_items, rule)
    active = np.flatnonzero(np.diff(x.start))
    got = rule.fit(x).scores(x, active)
    for place, user in enumerate(active):
        others = active[active != user]
        distance = np.linalg.norm(vectors[others] - vectors[user], axis=1)
        near = others[np.argsort(distance, kind="stable")[:6]]
        expected = 0.3 * vectors[user] + 0.7 * vectors[near].mean(axis=0)
        assert np.allclose(got[place], expected, atol=1e-5)


def test_a_hybrid_follows_the_part_that_holds_and_says_what_it_left_out() -> None:
    rng = np.random.default_rng(0)
    rows = [(u, i, 10.0 * u + n) for u in range(200) for n, i in enumerate(rng.permutation(40)[: 8 + u % 5])]
    user, item, day = (np.array(column) for column in zip(*rows, strict=True))
    films = Interactions.of(Events(user, item, day), now=2_100)  # nobody watches anything twice, nor comes back
    model = Hybrid({"own": Frequency(), "repeat": Repeat(), "popular": Popularity(), "tifu": TifuKNN(k=10)}).fit(films)
    assert model.fresh
    assert list(model.left_out) == ["repeat"]
    assert "bought again" in model.left_out["repeat"]
    assert model.weights["warm"][0].sum() == 0  # one's own films never come again
    made = model.scores(films, np.arange(5))
    assert not made[films.only(np.arange(5)).matrix().nonzero()].any()
    assert set(model.held_out["warm"]) == {"own", "popular", "tifu", "blend"}


def test_user_knn_is_the_plain_weighted_mean() -> None:
    x = log(market(users=30), now=200)
    rule = Weighting(repeats="log")
    w = x.matrix(rule).toarray().astype(float)
    unit = w / np.maximum(np.linalg.norm(w, axis=1, keepdims=True), 1e-12)
    near = unit @ unit.T
    np.fill_diagonal(near, 0.0)
    for row in near:
        row[np.argsort(-row, kind="stable")[4:]] = 0.0
    expected = near / np.maximum(near.sum(axis=1, keepdims=True), 1e-12) @ w
    assert np.allclose(
        UserKNN(k=4, own=0.0, weighting=rule, reweighting=Plain()).fit(x).scores(x, np.arange(x.n_users)),
        expected,
        atol=1e-5,
    )


def test_ease_is_ridge_regression_with_no_weight_on_itself() -> None:
    x = log(market(users=80), now=200)
    held = x.matrix(Weighting(repeats="once")).toarray().astype(float)
    weights = Ease(penalty=5.0).fit(x).scores(x, np.arange(x.n_users))
    for item in (0, 7):
        others = np.delete(np.arange(held.shape[1]), item)
        left = held[:, others]
        ridge = np.linalg.solve(left.T @ left + 5.0 * np.eye(others.size), left.T @ held[:, item])
        assert np.allclose(weights[:, item], left @ ridge, atol=1e-3)


def test_als_solves_its_normal_equations() -> None:
    x = log(market(users=50), now=200)
    model = Als(factors=6, passes=3, penalty=2.0).fit(x)
    got = model.users(x, np.arange(5))
    weights = x.matrix(model.parameters.weighting).toarray()[:5] * model.parameters.confidence
    y = model.factors.astype(float)
    for user in range(5):
        w = weights[user]
        exact = np.linalg.solve(y.T @ y + 2.0 * np.eye(6) + (y.T * w) @ y, y.T @ np.where(w > 0, 1.0 + w, 0.0))
        assert np.allclose(got[user], exact, atol=1e-3)


def test_content_serves_an_item_that_nobody_has_had(shop: Interactions) -> None:
    model = Content(ATTRIBUTES).fit(shop)
    new = model.items.find([70])[0]
    assert model.scores(shop.aligned(model.items), np.arange(50))[:, new].max() > 0
    assert similar_items(model, 70, 3)[0][1] > 0.1


def test_a_hybrid_knows_the_items_of_all_its_parts(shop: Interactions) -> None:
    model = Hybrid({"own": Frequency(), "content": Content(ATTRIBUTES)}).fit(shop)
    assert len(model.items) == 65
    new = model.items.find([70])[0]
    assert model.scores(shop.aligned(model.items), np.arange(50))[:, new].max() > 0


def test_the_fast_way_gives_what_the_dense_way_gives(shop: Interactions) -> None:
    model = ItemKNN(k=10).fit(shop)
    fast = recommend_all(model, shop, n=6)
    dense = recommend(model, shop, n=6)
    for user in range(0, shop.n_users, 17):
        row = fast.indices[fast.indptr[user] : fast.indptr[user + 1]]
        assert np.array_equal(row, dense.items[user][: row.size])


def test_similar_items_and_parameters_out_of_range(shop: Interactions) -> None:
    best = similar_items(ItemKNN(k=10).fit(shop), 10, 3)
    assert len(best) == 3
    assert best[0][1] >= best[1][1] >= best[2][1] > 0
    with pytest.raises(UsageError, match="knows no similar items"):
        similar_items(Popularity().fit(shop), 10)  # type: ignore[arg-type]
    for wrong in (lambda: ItemKNN(k=0), lambda: Ease(penalty=0.0), lambda: Als(factors=0), lambda: Hybrid({})):
        with pytest.raises(UsageError):
            wrong()


def test_climbing_never_ends_below_where_it_began_and_finds_the_part_that_tells() -> None:
    rng = np.random.default_rng(0)
    hit = rng.random(4_000) < 0.1
    features = rng.random((4_000, 4)).astype(np.float32)
    features[:, 2] += 0.3 * hit
    start = np.arange(0, 4_001, 20)
    contest = Contest(features, hit, start, np.maximum(np.add.reduceat(hit, start[:-1]), 1))
    alone = [contest.ndcg(features[:, place]) for place in range(4)]
    assert np.argmax(alone) == 2
    weights, reached = contest.climbed(np.eye(4)[0])
    assert reached > 1.1 * alone[0]
    assert np.argmax(weights) == 2
    assert reached == pytest.approx(contest.ndcg(features @ weights.astype(np.float32)))
