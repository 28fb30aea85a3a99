"""Users in the control group: told so, and left out of who gets a coupon."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from allocator.cli.inputs import Source
from allocator.cli.jobs import Effort, Output, plan
from allocator.cli.screen import Screen
from allocator.explaining import Why, explain_coupon, explain_user


def test_held_out_users_are_told_so_and_not_counted(every_rule: Path) -> None:
    source = Source(50.0, str(every_rule / "offers.parquet"), None, str(every_rule / "users.csv"))
    output = Output(every_rule / "plan", False, True, False)
    assert plan(source, Effort(), output, Screen(quiet=True, verbose=False), 0.3) == 0
    held = pd.read_parquet(every_rule / "plan" / "holdout.parquet")["user_id"]
    offers = pd.read_parquet(every_rule / "offers.parquet")
    for user in held[:20]:
        found = explain_user(every_rule / "plan", user)
        assert "control group" in found.statement and found.missed == 0.0
        assert {line.why for line in found.offers if line.value is not None} == {Why.HELD_OUT}
    for user in sorted(set(offers.user_id) - set(held))[:20]:
        assert "control group" not in explain_user(every_rule / "plan", user).statement
    eligible = offers[(offers.coupon == "c") & ~offers.user_id.isin(held)]
    found_coupon = explain_coupon(every_rule / "plan", "c")
    assert found_coupon.eligible == len(eligible)
    assert "are not counted" in " ".join(found_coupon.notes)
