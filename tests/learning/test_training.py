"""A trained model says what the trial knows, keeps its promises, and survives the disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from allocator.campaign import Campaign, Coupon, parse_campaign
from allocator.errors import DataError, UsageError
from allocator.learning import LogisticCandidate, Model, load_model, train
from allocator.learning.calibrating import LEVEL_PRIOR, SPREAD_PRIOR, _posterior
from allocator.learning.card import Z95
from tests.learning import worlds


def test_predictions_are_near_the_truth_and_errors_cover_it(model: Model) -> None:
    table = worlds.users(4000, seed=9)
    made = model.predict(table)
    without, with_each = worlds.truth(table)
    uplift = with_each - without[:, None]
    assert np.abs(made.uplift.mean(axis=0) - uplift.mean(axis=0)).max() < 0.03
    assert np.corrcoef(made.uplift[:, 1], uplift[:, 1])[0, 1] > 0.7
    covered = np.abs(made.uplift - uplift) < Z95 * made.standard_error
    assert covered.mean() > 0.7  # a line cannot follow the kink in the truth


def test_errors_are_shared_by_users_so_a_mean_keeps_one(model: Model) -> None:
    made = model.predict(worlds.users(4000, seed=9))
    of_mean = np.sqrt((made.deviations.mean(axis=1) ** 2).sum(axis=0))
    assert (of_mean > 0.25 * made.standard_error.mean(axis=0)).all()


def test_the_card_holds_predictions_against_the_trial(model: Model) -> None:
    text = model.card.text()
    assert "a trial: 6,000 users" in text
    assert all(kept.kept for kept in model.card.kept)
    assert {mark.name for mark in model.card.marks} == {"pooled logistic", "logistic", "average effects"}
    assert model.card.chosen in text
    assert "What it cannot know" in text


def test_what_a_redemption_took_off_is_what_an_offer_is_taken_to_cost(campaign: Campaign) -> None:
    table = worlds.trial(3000)
    table["discount"] = np.where(table["redeemed"] > 0, np.where(table["coupon"] == "8off", 5.0, 1.5), 0.0)
    made = train(table, campaign=campaign, candidates=(LogisticCandidate(None, "average effects"),))
    assert np.allclose(made.predict(worlds.users(10, seed=3)).expected.taken, [1.5, 5.0])
    table.loc[table["coupon"] == "control", "discount"] = 1.0
    with pytest.raises(DataError, match="'discount' is above 0 in the control arm"):
        train(table, campaign=campaign)


def test_the_same_seed_gives_the_same_model(model: Model, campaign: Campaign) -> None:
    candidates = (LogisticCandidate(0.01, "logistic"),)
    one, two = (train(worlds.trial(2000), campaign=campaign, candidates=candidates, seed=4) for _ in range(2))
    table = worlds.users(50, seed=3)
    assert np.array_equal(one.predict(table).deviations, two.predict(table).deviations)
    assert one.card == two.card


def test_a_model_is_the_same_after_the_disk(model: Model, folder: Path) -> None:
    table = worlds.users(100, seed=3)
    again = load_model(folder)
    assert again.card == model.card
    assert again.terms == model.terms
    assert model.spending is not None
    assert model.spending.reach is not None
    one, two = model.predict(table), again.predict(table)
    assert np.allclose(one.expected.basket_with, two.expected.basket_with, rtol=1e-12)
    assert np.array_equal(one.expected.taken, two.expected.taken, equal_nan=True)
    assert np.allclose(one.purchase_with, two.purchase_with)
    assert np.allclose(one.expected.redeem, two.expected.redeem)
    assert np.allclose(one.expected.basket_with, two.expected.basket_with)
    assert np.allclose(one.deviations, two.deviations)


@pytest.mark.parametrize("name", ["model.json", "card.json", "manifest.json"])
def test_a_model_cut_short_is_refused_with_words(folder: Path, name: str) -> None:
    file = folder / name
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(DataError, match=rf"{name}.*train it again"):
        load_model(folder)


def test_a_missing_file_another_version_and_a_foreign_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "version": 99}))
    with pytest.raises(DataError, match=r"version 99, this program reads 3"):
        load_model(folder)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "card.json").unlink()
    with pytest.raises(DataError, match=r"card\.json is missing"):
        load_model(folder)
    (folder / "manifest.json").write_text(json.dumps({"command": ["allocate"]}))
    with pytest.raises(UsageError, match=r"not a model folder"):
        load_model(folder)
    with pytest.raises(UsageError, match=r"no such folder"):
        load_model(tmp_path / "nothing")


def test_an_existing_model_stays_without_force(model: Model, folder: Path) -> None:
    with pytest.raises(UsageError, match="exists already"):
        model.save(folder)
    model.save(folder, force=True)


def test_coupons_never_tried_are_predicted_with_larger_errors(model: Model) -> None:
    table = worlds.users(500, seed=5)
    asked = (
        *(model.terms or ()),
        Coupon(id="4off", kind="fixed", amount=4.0),
        Coupon(id="10pc", kind="percent", amount=10.0),
    )
    made = model.predict(table, asked)
    two, eight, four, percent = made.uplift.mean(axis=0)
    assert two < four < eight
    assert two <= percent <= eight
    share = made.standard_error.mean(axis=0) / np.abs(made.uplift).mean(axis=0)
    assert share[2] > share[1]
    assert [note.split(":")[0] for note in made.kinship.notes] == ["4off", "10pc"]
    assert np.isnan(made.expected.redeem[:, 2]).all()  # redemption of other terms was not learned


def test_users_lacking_a_feature_are_refused_and_missing_values_are_not(model: Model) -> None:
    table = worlds.users(20, seed=1)
    with pytest.raises(DataError, match=r"1 of the 4 features.*missing: thrifty"):
        model.predict(table.drop(columns="thrifty"))
    with pytest.raises(DataError, match=r"'loyal' holds text"):
        model.predict(table.assign(loyal="much"))
    assert np.isfinite(model.predict(table.assign(loyal=np.nan, region=None)).uplift).all()


def test_a_code_in_numbers_is_the_text_it_was_in_training() -> None:
    table = worlds.trial(1500)
    table["region"] = table["region"].map({"north": "1", "south": "2"})
    made = train(table, candidates=(LogisticCandidate(0.01, "logistic"),))
    asked = worlds.users(30, seed=2)
    texts = asked.assign(region=asked["region"].map({"north": "1", "south": "2"}))
    numbers = texts.assign(region=pd.to_numeric(texts["region"]))
    assert np.array_equal(made.predict(texts).uplift, made.predict(numbers).uplift)


def test_observational_data_say_so() -> None:
    table = worlds.trial(3000)
    made = train(table, observational=True, candidates=(LogisticCandidate(0.01, "logistic"),))
    assert made.observational
    assert "OBSERVATIONAL" in made.card.text()
    assert any("not drawn by lot" in line for line in made.card.limits)
    said = made.card.text() + str(made.card.findings())
    assert "the trial" not in said and "the history shows" in said
    assert all(item.outside < 0.01 for item in made.card.overlap)  # as it was by lot, all overlaps


def test_users_with_nobody_alike_on_the_other_side_are_counted_where_nobody_drew_lots() -> None:
    table = worlds.trial(4000)
    rng = np.random.default_rng(3)
    picked = rng.random(4000) < np.where(table["loyal"] > 0, 0.98, 0.02)
    table["coupon"] = np.where(picked, "2off", "control")
    table["redeemed"] = 0
    made = train(table, observational=True, candidates=(LogisticCandidate(0.01, "logistic"),))
    (item,) = made.card.overlap
    assert 0.2 < item.below < 0.7 and 0.2 < item.above < 0.7
    assert any("have nobody alike on the other side" in line for line in made.card.limits)
    assert "above 95 %" in made.card.text()
    by_lot = train(table, candidates=(LogisticCandidate(0.01, "logistic"),))
    assert not by_lot.card.overlap


def test_terms_of_the_trial_must_be_of_its_coupons() -> None:
    other = parse_campaign('[[coupon]]\nid = "other"\n')
    with pytest.raises(DataError, match="'2off' of the trial is not in the campaign file"):
        train(worlds.trial(500), campaign=other)


def test_how_much_of_users_deviations_is_real_is_the_trials_to_say() -> None:
    exact, vague = np.diag([1e-4, 1e-4]), np.diag([1e4, 1e4])
    raw = np.array([1.2, 0.1])
    priors = (LEVEL_PRIOR, SPREAD_PRIOR)
    assert np.allclose(_posterior(raw, exact, priors), raw, atol=1e-3)
    assert np.allclose(_posterior(raw, vague, priors), [1.0, 0.5], atol=1e-3)
    assert _posterior(raw, np.diag([0.09, 0.09]), priors)[1] < 0.25
