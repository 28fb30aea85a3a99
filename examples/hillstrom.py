"""A real trial, from history to a plan that is held to its promise: Kevin Hillstrom's e-mail trial (2008), 64,000 users.

    python examples/hillstrom.py hillstrom.csv -o hillstrom

Users drew lots: an e-mail on men's clothes, one on women's, or none. Half of the users stand for the past: a model is
trained on what they did. The other half stands for the coming campaign: it is scored, planned, and only then are its
outcomes looked at. Because of the lots they tell, without bias, what the plan would have brought, and what simpler
plans of the same budget would have. Without the file (or the variable HILLSTROM_CSV) it says so and does nothing.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from allocator.simulation import offpolicy

ARMS = ("", "Mens E-Mail", "Womens E-Mail")  # the first: none
CHANCE = 1 / 3  # of each arm, by design
MARGIN, CONTACT, BUDGET = 0.30, 0.10, 1_000.0  # assumed: gross margin of sales, USD an e-mail, USD
KNOWN = ["recency", "history", "mens", "womens", "zip_code", "newbie", "channel"]  # of each user before the trial
CAMPAIGN = f"""[campaign]
name = "e-mails"
currency = "USD"
margin = {MARGIN}
contact_cost = {CONTACT}

[[coupon]]
id = "Mens E-Mail"

[[coupon]]
id = "Womens E-Mail"
"""
DEFAULT = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "hillstrom.csv"
Z95 = 1.959963984540054


def allocate(*words: str | Path) -> None:
    """Show a command and run it."""
    texts = [str(word) for word in words]
    print(f"\n$ allocate {shlex.join(texts)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "allocator", *texts], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def halves(file: Path, folder: Path, seed: int) -> pd.DataFrame:
    """Write the past, the coming users and the campaign; return the coming users with their outcomes, a trial's table."""
    trial = pd.read_csv(file)
    trial.insert(0, "user_id", np.arange(1, len(trial) + 1))
    past = np.random.default_rng(seed).permutation(len(trial)) < len(trial) // 2
    folder.mkdir(parents=True, exist_ok=True)
    trial[past].to_csv(folder / "past.csv", index=False)
    coming = trial[~past].reset_index(drop=True)
    coming[["user_id", *KNOWN]].to_csv(folder / "users.csv", index=False)
    (folder / "campaign.toml").write_text(CAMPAIGN, encoding="utf-8")
    coupon = coming["segment"].replace("No E-Mail", "")
    held = coming[["user_id", *KNOWN, "spend"]].assign(coupon=coupon, purchased=coming["conversion"], propensity=CHANCE)
    held.to_csv(folder / "held.csv", index=False)
    return held


def policies(held: pd.DataFrame, plan: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the plan and simpler ways to send as many e-mails: each `(users, arms)` chances of what a user gets."""
    n = len(held)
    arm = held["user_id"].map(plan.set_index("user_id")["coupon"].astype(str)).fillna("")
    made = {"the plan": np.column_stack([arm == name for name in ARMS]).astype(float)}
    share = len(plan) / n

    def to_the_first(score: pd.Series, kind: np.ndarray) -> np.ndarray:
        """E-mails of `kind` (1 or 2) to the users with the highest score; ties by lot."""
        order = np.lexsort((np.random.default_rng(1).random(n), -score.to_numpy()))
        chance = np.zeros((n, 3))
        chance[:, 0] = 1.0
        best = order[: len(plan)]
        chance[best, 0], chance[best, kind[best]] = 0.0, 1.0
        return chance

    mens = np.ones(n, np.int64)
    suited = np.where(held["womens"] > held["mens"], 2, 1)  # what they bought before
    made["Mens E-Mail, by lot"] = np.tile([1 - share, share, 0.0], (n, 1))
    made["Womens E-Mail, by lot"] = np.tile([1 - share, 0.0, share], (n, 1))
    made["Mens E-Mail, most recent first"] = to_the_first(-held["recency"], mens)
    made["Mens E-Mail, biggest spenders first"] = to_the_first(held["history"], mens)
    made["suited e-mail, biggest spenders first"] = to_the_first(held["history"], suited)
    return made


def terms_of(
    held: pd.DataFrame, chances: dict[str, np.ndarray], reward: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Hold policies against the lots: doubly robust and plain IPS terms of a reward, `(users,)` each.

    The robust ones lean on predictions from users of other folds, which takes noise out; the known chances make both true.
    """
    arm = held["coupon"].map({name: k for k, name in enumerate(ARMS)}).to_numpy()
    rows, got = np.arange(len(held)), held["propensity"].to_numpy()
    known = pd.get_dummies(held[KNOWN], drop_first=True).to_numpy(float)
    guess = offpolicy.fit_rewards(known, arm, reward, len(ARMS))
    made = {}
    for name, chance in chances.items():
        log = offpolicy.Log.of(reward, got, chance[rows, arm], guess[rows, arm], (chance * guess).sum(axis=1))
        made[name] = offpolicy.dr_terms(log), log.weight * log.reward
    return made


def summed(terms: np.ndarray) -> tuple[float, float]:
    """Return the sum over users and half the width of its 95 % interval."""
    return float(terms.sum()), Z95 * float(terms.std(ddof=1)) * np.sqrt(terms.size)


def judge(held: pd.DataFrame, plan: pd.DataFrame) -> None:
    """Print what the plan promised, what the lots show, and what simpler plans of the same budget would have brought."""
    chances = policies(held, plan)
    chances["nobody"] = np.tile([1.0, 0.0, 0.0], (len(held), 1))
    given = (held["coupon"] != "").to_numpy()
    compared = {
        "net revenue, USD": (MARGIN * held["spend"].to_numpy() - CONTACT * given, float(plan["value"].sum())),
        "purchases": (
            held["purchased"].to_numpy(float),
            float((plan["purchase_with"] - plan["purchase_without"]).astype(float).sum()),
        ),
    }
    for what, (reward, promised) in compared.items():
        terms = terms_of(held, chances, reward)
        nothing = terms.pop("nobody")
        print(f"\n{len(plan):,} e-mails to {len(held):,} users: further {what}, beside sending none (95 % intervals)")
        print(f"{'':<38}{'doubly robust':>19}{'IPS alone':>19}{'the plan brings more by':>27}")
        for name, (robust, plain) in terms.items():
            columns = [summed(robust - nothing[0]), summed(plain - nothing[1])]
            columns += [] if name == "the plan" else [summed(terms["the plan"][0] - robust)]
            print(f"{name:<38}" + "   ".join(f"{value:>7,.0f} +- {around:<5,.0f}" for value, around in columns))
        found, around = summed(terms["the plan"][0] - nothing[0])
        where = "inside" if abs(promised - found) <= around else "OUTSIDE"
        print(
            f"The plan promised {promised:,.0f}; the lots show {found:,.0f} ({found - around:,.0f} to {found + around:,.0f}): {where}."
        )


def main() -> None:
    """Split, train, score, plan, report, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", help="hillstrom.csv, as it was published")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="of the split")
    asked = parser.parse_args()
    file = asked.file or Path(os.environ.get("HILLSTROM_CSV", DEFAULT))
    if not file.is_file():
        if asked.file is not None:
            parser.error(f"{file} is not a file")
        print("Skipped: Hillstrom's table is not here; give its path: examples/hillstrom.py hillstrom.csv -o hillstrom")
        return
    folder = asked.output
    held = halves(file, folder, asked.seed)
    allocate(
        "train",
        "--trial",
        folder / "past.csv",
        "--column",
        "coupon=segment",
        "--control",
        "No E-Mail",
        "--ignore",
        "history_segment",
        "-o",
        folder / "model",
        "--force",
    )
    shared = ("--users", folder / "users.csv", "--campaign", folder / "campaign.toml")
    allocate(
        "score", "--model", folder / "model", *shared, "--draws", "200", "-o", folder / "offers.parquet", "--force"
    )
    allocate(
        "--budget", f"{BUDGET:g}", "--offers", folder / "offers.parquet", *shared, "-o", folder / "plan", "--force"
    )
    allocate("report", folder / "plan", "-o", folder / "report.html", "--force")
    allocate("measure", folder / "plan", "--logged", folder / "held.csv")
    judge(held, pd.read_parquet(folder / "plan" / "plan.parquet"))


if __name__ == "__main__":
    main()
