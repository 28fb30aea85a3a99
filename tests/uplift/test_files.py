"""Trials in files: every row is read once whatever the chunk, and a streamed training finds what one in memory finds."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.uplift.test_network import QUICK
from tests.uplift.worlds import tiny
from uplift import FittedNetwork, ModelFileError, Progress, Terms, Trial, TrialError, TrialFiles, UpliftNetwork
from uplift.files import drawn

NAMES = ["x0", "x1", "x2", "town"]


def table_of(trial: Trial) -> pa.Table:
    """The trial with a text among its features, and a missing number."""
    columns: dict[str, Any] = dict(zip(trial.features.names, trial.features.columns, strict=True))
    columns["town"] = np.where(columns["x1"] > 0, "north", "south")
    columns["x2"] = pa.array(columns["x2"], mask=np.arange(len(trial)) % 50 == 3)
    return pa.table({**columns, "arm": trial.arm, "bought": trial.outcome.astype(np.int8)})


def written(folder: Path, trial: Trial, parts: int = 3, group: int = 370) -> TrialFiles:
    """Several files of several row groups."""
    table = table_of(trial)
    cuts = np.linspace(0, len(trial), parts + 1).astype(int)
    for i, (start, end) in enumerate(itertools.pairwise(cuts)):
        pq.write_table(table.slice(start, end - start), folder / f"part{i}.parquet", row_group_size=group)
    return made(folder)


def made(source: Any, **change: Any) -> TrialFiles:
    options = {"features": NAMES, "arm": "arm", "outcome": "bought", "terms": Terms.create([2.0, 5.0])}
    return TrialFiles.create(source, **{**options, **change})


@pytest.mark.parametrize("size", [1, 64, 100_000])
def test_every_row_is_read_once_whatever_the_chunk(tmp_path: Path, size: int) -> None:
    trial = tiny(1_000 if size > 1 else 40)
    files = written(tmp_path, trial, group=130)
    chunks = list(files.read(np.random.default_rng(0), size))
    assert max(rows.number.size for rows in chunks) <= size
    number = np.concatenate([rows.number for rows in chunks])
    np.testing.assert_array_equal(np.sort(number), np.arange(len(trial)))
    np.testing.assert_array_equal(np.concatenate([rows.arm for rows in chunks]), trial.arm[number])
    np.testing.assert_array_equal(
        np.concatenate([rows.features.columns[0] for rows in chunks]), trial.features.columns[0][number]
    )


def test_the_sample_is_random_and_always_the_same(tmp_path: Path) -> None:
    files = written(tmp_path, tiny(6_000))
    trial, number = files.sample(2_000, seed=3)
    assert abs(number.size - 2_000) < 200
    np.testing.assert_array_equal(files.sample(2_000, seed=3)[1], number)
    assert trial.features.columns[3].dtype == object
    assert np.isnan(trial.features.columns[2]).any()
    many = drawn(np.arange(100_000), 7)
    assert abs(many.mean() - 0.5) < 0.005
    assert abs(np.corrcoef(many, drawn(np.arange(100_000), 8))[0, 1]) < 0.02


@pytest.fixture(scope="module")
def streamed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trial, TrialFiles, FittedNetwork]:
    trial = tiny(6_000)
    files = written(tmp_path_factory.mktemp("files"), trial)
    return trial, files, UpliftNetwork(QUICK).fit_files(files, sample=3_000, seed=3, chunk=600)


def test_a_streamed_training_finds_what_one_in_memory_finds(
    streamed: tuple[Trial, TrialFiles, FittedNetwork], tmp_path: Path
) -> None:
    trial, files, model = streamed
    everything, _ = files.sample(10**9, seed=0)
    assert len(everything) == len(trial)
    memory = UpliftNetwork(QUICK).fit(everything, seed=3).predict(everything.features)
    effects = model.predict(everything.features)
    assert np.corrcoef(effects.uplift[:, 1], memory.uplift[:, 1])[0, 1] > 0.9
    # The averages are those of the sample that is held: as apart as half of the users are from all of them.
    np.testing.assert_allclose(effects.uplift.mean(axis=0), memory.uplift.mean(axis=0), atol=0.04)
    assert model.out_of_fold is not None
    assert len(model.out_of_fold) == len(files.sample(3_000, seed=3)[0])
    model.save(tmp_path / "model")
    again = FittedNetwork.load(tmp_path / "model").predict(everything.features)
    np.testing.assert_allclose(again.treated, effects.treated, rtol=1e-6)


def test_files_that_cannot_be_learned_from_are_refused_with_words(tmp_path: Path) -> None:
    trial = tiny(3_000)
    written(tmp_path, trial)
    with pytest.raises(TrialError, match="has no column 'age'"):
        made(tmp_path, features=["age"])
    with pytest.raises(TrialError, match="does not exist"):
        made(tmp_path / "none.parquet")
    with pytest.raises(
        TrialError, match=r"part0.parquet: column 'x2' must hold numbers above 0; .* such as row \d+ \(.*Correct"
    ):
        made(tmp_path, weight="x2")
    with pytest.raises(TrialError, match="money"):
        _money(tmp_path, trial)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.parquet").write_text("no Parquet")
    with pytest.raises(TrialError, match="cannot be read as Parquet"):
        made(tmp_path / "text")
    (tmp_path / "sorted").mkdir()
    with pytest.raises(TrialError, match="sorted by arm"):
        _sorted(tmp_path / "sorted", trial)


def _money(folder: Path, trial: Trial) -> None:
    table = table_of(trial).append_column("spend", pa.array(trial.outcome * 9.99))
    pq.write_table(table, folder / "money.parquet")
    made(folder / "money.parquet", outcome="spend")


def _sorted(folder: Path, trial: Trial) -> None:
    large = pa.concat_tables([table_of(trial.take(np.tile(np.flatnonzero(trial.arm == k), 60))) for k in range(3)])
    pq.write_table(large, folder / "a.parquet")
    made(folder)


@pytest.mark.slow
def test_a_streamed_training_that_was_cut_off_goes_on_to_the_same_end(
    streamed: tuple[Trial, TrialFiles, FittedNetwork], tmp_path: Path
) -> None:
    trial, files, model = streamed
    seen: list[Progress] = []

    def stop(progress: Progress) -> None:
        seen.append(progress)
        if len(seen) == 2:
            raise KeyboardInterrupt

    learner = UpliftNetwork(QUICK)
    with pytest.raises(KeyboardInterrupt):
        learner.fit_files(files, sample=3_000, seed=3, chunk=600, on_epoch=stop, checkpoint=tmp_path)
    resumed = learner.fit_files(files, sample=3_000, seed=3, chunk=600, checkpoint=tmp_path)
    np.testing.assert_array_equal(resumed.predict(_nine(trial)).treated, model.predict(_nine(trial)).treated)
    with pytest.raises(ModelFileError, match="other data or settings"):
        UpliftNetwork(dataclasses.replace(QUICK, repeats=2)).fit_files(
            files, sample=3_000, seed=3, chunk=600, checkpoint=tmp_path
        )


def _nine(trial: Trial) -> dict[str, Any]:
    few = dict(zip(trial.features.names, trial.features.take(np.arange(9)).columns, strict=True))
    return {**few, "town": np.array(["north"] * 9, dtype=object)}
