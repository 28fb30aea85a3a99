"""The default candidates, the network among them, end to end; and a run that is killed outright."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from allocator.campaign import Campaign
from allocator.learning import Model, NetworkCandidate, load_model, train
from allocator.learning.candidates import Network
from allocator.learning.streaming import BLOCK, partial_folder
from tests.learning import worlds
from uplift import Progress


@pytest.mark.slow
def test_the_network_is_trained_saved_and_read_back(campaign: Campaign, tmp_path: Path) -> None:
    made = train(worlds.trial(3000), campaign=campaign, candidates=(NetworkCandidate(),))
    assert made.card.chosen == "network"
    made.save(tmp_path / "model")
    table = worlds.users(500, seed=4)
    one, two = made.predict(table), load_model(tmp_path / "model").predict(table)
    assert np.allclose(one.purchase_with, two.purchase_with, atol=1e-5)
    assert np.allclose(one.standard_error, two.standard_error, atol=1e-5)
    # Errors of offers are those that users share: plans add them up. What is hidden of each user's own is not among them.
    assert isinstance(made.purchase, Network)
    fitted = made.purchase.fitted
    shared = dataclasses.replace(fitted, stages=tuple(dataclasses.replace(s, hidden=None) for s in fitted.stages))
    features = made.features_of(table)
    told, parts = shared.predict(features).standard_error, made.purchase.predict_members(features).standard_error
    assert np.allclose(told, parts)


@pytest.mark.slow
def test_losses_are_written_for_tensorboard(tmp_path: Path) -> None:
    from allocator.cli.commands.train import _board

    with _board(tmp_path / "logs") as told:
        told(Progress("base", 1, 3, 0.5))
    (file,) = (tmp_path / "logs").iterdir()
    assert b"loss/base" in file.read_bytes()


@pytest.mark.slow
def test_a_killed_run_leaves_no_file_and_resumes_to_the_same_offers(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    (tmp_path / "campaign.toml").write_text(worlds.CAMPAIGN, encoding="utf-8")
    worlds.users(6 * BLOCK, seed=2).to_parquet(tmp_path / "users.parquet")

    def command(target: str, *more: str) -> list[str]:
        words = ["score", "--model", "model", "--users", "users.parquet", "--campaign", "campaign.toml", "-o", target]
        return [sys.executable, "-m", "allocator", *words, "--draws", "20", *more]

    run = subprocess.Popen(command("offers.parquet"), cwd=tmp_path)
    parts = partial_folder(tmp_path / "offers.parquet")
    while run.poll() is None and not list(parts.glob("part-*.parquet")):
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert not (tmp_path / "offers.parquet").exists()
    assert list(parts.glob("part-*.parquet"))
    subprocess.run(command("offers.parquet", "--resume"), cwd=tmp_path, check=True)
    subprocess.run(command("whole.parquet"), cwd=tmp_path, check=True)
    one, two = (pd.read_parquet(tmp_path / name) for name in ("offers.parquet", "whole.parquet"))
    assert one.equals(two)
    assert not parts.exists()
