"""The command line as a planner meets it."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import typer

from allocator import Prices, Problem, Proof, Result, Status, solving
from allocator.cli.amounts import parse_amount
from allocator.errors import DataError
from allocator.plan import Plan
from tests.conftest import Allocate

FILES = {"plan.parquet", "summary.json", "report.html", "manifest.json"}


def process(*words: object) -> subprocess.Popen[str]:
    """Start the command in a process of its own."""
    command = [sys.executable, "-m", "allocator", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def offers(tmp_path: Path) -> Path:
    """Write twelve offers: six users, two coupons."""
    rows = [(user, coupon, 5.0 + user - cost, cost) for user in range(6) for coupon, cost in (("a", 1.0), ("b", 3.0))]
    path = tmp_path / "offers.csv"
    pd.DataFrame(rows, columns=["user_id", "coupon", "value", "cost"]).to_csv(path, index=False)
    return path


@pytest.fixture
def unreachable(tmp_path: Path) -> Path:
    """Write a campaign that wants three of coupon b, which cost 9, on a budget of 4."""
    path = tmp_path / "unreachable.toml"
    path.write_text('[campaign]\nbudget = 4\n[[coupon]]\nid = "a"\n[[coupon]]\nid = "b"\nmin_quantity = 3\n')
    return path


def ended(status: Status, problem: Problem) -> Result:
    """Return a result without a plan."""
    names = tuple(limit.name for limit in problem.limits)
    return Result(
        status=status,
        objective=math.nan,
        bound=math.nan,
        price_bound=math.nan,
        prices=Prices(names, np.zeros(len(names))),
        proof=Proof.NONE,
        plan=Plan.of(problem, np.empty(0, np.int64)),
        passes=1.0,
        seconds={"prices": 0.0, "integer": 0.0, "total": 0.0},
    )


# Amounts


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("50000", 50_000.0),
        ("50_000", 50_000.0),
        ("50,000", 50_000.0),
        ("1,250,000.50", 1_250_000.5),
        ("50k", 50_000.0),
        ("1.1k", 1_100.0),
        ("1.5m", 1_500_000.0),
        ("2B", 2e9),
        ("5e4", 50_000.0),
        (" 7 ", 7.0),
    ],
)
def test_amounts_are_read_as_people_write_them(text: str, number: float) -> None:
    assert parse_amount(text) == number


@pytest.mark.parametrize("text", ["", "lots", "1,5", "50,00", "5,0000", "nan", "inf", "50kk", "50 000", "k", "1__0"])
def test_an_amount_that_could_mean_two_things_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="write 50000"):
        parse_amount(text)


# The main job


def test_plan_folder(allocate: Allocate, offers: Path, tmp_path: Path) -> None:
    """A plan folder is written whole; a second run refuses to replace it without --force."""
    out = tmp_path / "plan"
    run = allocate("--budget", "4", "--offers", offers, "-o", out, "--json")
    assert run.code == 0, run.err
    assert json.loads(run.out)["status"] == "optimal"
    assert {item.name for item in out.iterdir()} == FILES
    assert pd.read_parquet(out / "plan.parquet")["cost"].sum() <= 4
    assert allocate("--budget", "4", "--offers", offers, "-o", out).code == 2
    assert allocate("--budget", "3", "--offers", offers, "-o", out, "--force").code == 0
    assert json.loads((out / "summary.json").read_text())["budget"] == 3


def test_json_is_the_summary_that_is_written(allocate: Allocate, offers: Path, tmp_path: Path) -> None:
    run = allocate("--budget", "4", "--offers", offers, "-o", tmp_path / "plan", "--json")
    assert run.out == (tmp_path / "plan" / "summary.json").read_text()
    seconds = json.loads(run.out)["seconds"]
    assert {"read", "prices", "integer", "write", "total"} <= set(seconds)
    assert 0 < seconds["write"] < seconds["total"]


def test_plan_keeps_the_order_and_columns_of_the_offers(allocate: Allocate, offers: Path, tmp_path: Path) -> None:
    table = pd.read_csv(offers).iloc[::-1].assign(note="x", stock=2)
    table.to_csv(offers, index=False)
    assert allocate("--budget", "4", "--offers", offers, "-o", tmp_path / "plan").code == 0
    plan = pd.read_parquet(tmp_path / "plan" / "plan.parquet")
    assert list(plan.columns) == ["user_id", "coupon", "value", "cost", "note", "stock"]
    assert plan["user_id"].is_monotonic_decreasing


def test_manifest_says_what_the_plan_was_made_from(allocate: Allocate, offers: Path, tmp_path: Path) -> None:
    import hashlib

    allocate("--budget", "4", "--offers", offers, "--seed", "3", "-o", tmp_path / "plan")
    made = json.loads((tmp_path / "plan" / "manifest.json").read_text())
    assert made["inputs"] == {str(offers): hashlib.sha256(offers.read_bytes()).hexdigest()}
    assert made["seed"] == 3
    assert made["command"][:3] == ["allocate", "--budget", "4"]
    assert "ortools" in made["versions"]


def test_the_result_goes_to_stdout_and_the_rest_to_stderr(allocate: Allocate, offers: Path, tmp_path: Path) -> None:
    plain = allocate("--budget", "4", "--offers", offers, "-o", tmp_path / "one")
    assert "and to earn" in plain.out
    assert plain.err == f"Written to {tmp_path / 'one'}\n"
    assert allocate("--budget", "4", "--offers", offers, "-o", tmp_path / "two", "-q").err == ""
    loud = allocate("--budget", "4", "--offers", offers, "-v")
    assert "reading the input" in loud.err
    assert "reading the input" not in loud.out


def test_a_pipe_sees_neither_colour_nor_bars(offers: Path) -> None:
    out, err = process("--budget", "4", "--offers", offers).communicate(timeout=120)
    assert "verified: true" in out
    assert "greedy" in out
    assert "\x1b" not in out + err
    assert "█" not in out + err


def test_dry_run_says_what_was_understood_and_does_not_solve(
    allocate: Allocate, offers: Path, unreachable: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(solving, "solve", lambda *_, **__: pytest.fail("solved"))
    words = ["--offers", offers, "--campaign", unreachable, "--dry-run", "-o", tmp_path / "plan"]
    run = allocate(*words)
    assert run.code == 0
    assert "6 users, 2 coupons, 12 offers, 2 limits" in run.out
    assert "min_quantity[b]" in run.out
    assert not (tmp_path / "plan").exists()
    understood = json.loads(allocate(*words, "--json").out)
    assert [limit["name"] for limit in understood["limits"]] == ["budget", "min_quantity[b]"]
    assert understood["limits"][1]["coupons"] == 1


def test_the_budget_of_the_command_line_wins_over_the_campaigns(
    allocate: Allocate, offers: Path, tmp_path: Path
) -> None:
    campaign = tmp_path / "campaign.toml"
    campaign.write_text("[campaign]\nbudget = 4\n")
    words = ["--offers", offers, "--campaign", campaign, "--json"]
    assert json.loads(allocate(*words).out)["budget"] == 4
    assert json.loads(allocate(*words, "--budget", "5").out)["budget"] == 5


def test_loosen_first_names_the_limit_that_binds(allocate: Allocate, offers: Path) -> None:
    run = allocate("--budget", "4", "--offers", offers, "--json")
    assert json.loads(run.out)["loosen_first"]["name"] == "budget"
    assert "Loosen `budget` first" in allocate("--budget", "4", "--offers", offers).out


# Ways to fail


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.assign(cost=-1.0), "negative"),
        (lambda table: table.drop(columns="value"), "missing"),
        (lambda table: pd.concat([table, table]), "repeat"),
        (lambda table: table.assign(value="much"), "numbers"),
        (lambda table: table.iloc[:0], "no rows"),
        (lambda table: table.assign(cost=1e13), "10^12"),
    ],
)
def test_bad_data(allocate: Allocate, offers: Path, change, words: str) -> None:  # type: ignore[no-untyped-def]
    """Bad data gives exit code 3 and says what is wrong."""
    change(pd.read_csv(offers)).to_csv(offers, index=False)
    run = allocate("--budget", "4", "--offers", offers)
    assert run.code == 3
    assert words in run.err
    assert run.out == ""


def test_usage(allocate: Allocate, offers: Path, tmp_path: Path) -> None:
    """A budget of 0, a word for a number, a misspelt key: exit code 2."""
    assert allocate("--budget", "0", "--offers", offers).code == 2
    assert allocate("--budget", "-5", "--offers", offers).code == 2
    assert allocate("--budget", "lots", "--offers", offers).code == 2
    assert allocate("--budgte", "5", "--offers", offers).code == 2
    assert allocate("--budget", "5", "--offers", offers, "--time-limit", "0").code == 2
    campaign = tmp_path / "campaign.toml"
    campaign.write_text("[campaign]\nbudgte = 5\n")
    run = allocate("--offers", offers, "--campaign", campaign)
    assert run.code == 2
    assert "'budget'" in run.err


def test_a_missing_budget_is_explained(allocate: Allocate, offers: Path) -> None:
    for words in ([], ["--offers", offers]):
        run = allocate(*words)
        assert run.code == 2
        assert "--budget 50000" in run.err


def test_campaign_and_users_need_offers(allocate: Allocate, unreachable: Path) -> None:
    run = allocate("--budget", "5", "--campaign", unreachable)
    assert run.code == 2
    assert "--campaign needs --offers" in run.err


def test_an_output_that_cannot_be_used_is_refused_before_anything_is_read(allocate: Allocate, tmp_path: Path) -> None:
    (tmp_path / "plan").mkdir()
    run = allocate("--budget", "4", "--offers", tmp_path / "nothing.csv", "-o", tmp_path / "plan")
    assert run.code == 2
    assert "--force" in run.err


def test_options_before_a_subcommand_are_not_lost_in_silence(allocate: Allocate, offers: Path) -> None:
    run = allocate("--offers", offers, "frontier", "--from", "1", "--to", "4")
    assert run.code == 2
    assert "--offers" in run.err


def test_infeasible(allocate: Allocate, offers: Path, unreachable: Path, tmp_path: Path) -> None:
    """Limits that cannot be met together: exit code 4, and nothing written."""
    words = ["--offers", offers, "--campaign", unreachable, "-o", tmp_path / "plan"]
    run = allocate(*words)
    assert run.code == 4
    assert run.out.startswith("Infeasible: ")
    assert not (tmp_path / "plan").exists()
    document = json.loads(allocate(*words, "--json").out)
    assert document["status"] == "infeasible"
    assert document["objective"] is None
    assert [limit["name"] for limit in document["limits"]] == ["budget", "min_quantity[b]"]


def test_infeasible_names_the_limits_that_conflict(allocate: Allocate, offers: Path, unreachable: Path) -> None:
    words = ["--offers", offers, "--campaign", unreachable]
    assert "min_quantity[b]" in allocate(*words).out
    conflicts = json.loads(allocate(*words, "--json").out)["diagnosis"]["conflicts"]
    assert {conflict["name"] for conflict in conflicts} == {"budget", "min_quantity[b]"}


def test_infeasible_says_what_repairs_it(allocate: Allocate, offers: Path, unreachable: Path) -> None:
    words = ["--offers", offers, "--campaign", unreachable]
    run = allocate(*words)
    assert run.out.splitlines()[0] == (
        "Infeasible: min_quantity[b] = 3 needs at least 9 of budget; budget is 4. "
        "Raise budget to 9 or lower min_quantity to 1."
    )
    document = json.loads(allocate(*words, "--json").out)
    assert document["verified"] is True
    assert document["proof"] == "farkas"
    assert {item["name"]: item["repair"] for item in document["diagnosis"]["conflicts"]} == {
        "budget": 9.0,
        "min_quantity[b]": 1.0,
    }
    assert allocate(*words, "--budget", "9").code == 0


def test_no_plan_in_time_exits_with_5(allocate: Allocate, offers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solving, "solve", lambda problem, *_, **__: ended(Status.NO_PLAN, problem))
    run = allocate("--budget", "4", "--offers", offers)
    assert run.code == 5
    assert "--time-limit" in run.out
    assert json.loads(allocate("--budget", "4", "--offers", offers, "--json").out)["status"] == "no_plan"


def test_a_stop_with_a_plan_exits_with_0_and_shows_the_gap(
    allocate: Allocate, offers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = solving.solve

    def stopped(problem: Problem, *_: object, **__: object) -> Result:
        result = real(problem)
        return dataclasses.replace(
            result, status=Status.FEASIBLE, bound=result.price_bound + 3.0, price_bound=result.price_bound + 3.0
        )

    monkeypatch.setattr(solving, "solve", stopped)
    run = allocate("--budget", "4", "--offers", offers)
    assert run.code == 0
    assert "Not yet proven optimal" in run.out
    assert "3.00 EUR" in run.out


def test_an_unexpected_error_exits_with_1_and_v_shows_where(
    allocate: Allocate, offers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> Result:
        raise RuntimeError("a cog broke")

    monkeypatch.setattr(solving, "solve", broken)
    run = allocate("--budget", "4", "--offers", offers)
    assert run.code == 1
    assert run.err.splitlines() == [
        "allocate: internal error: RuntimeError: a cog broke; run again with -v for the traceback"
    ]
    assert "Traceback" in allocate("--budget", "4", "--offers", offers, "-v").err


@pytest.mark.parametrize(
    ("accident", "code"), [(KeyboardInterrupt(), 130), (OSError(errno.ENOSPC, "No space left on device"), 1)]
)
def test_an_accident_while_writing_leaves_nothing(
    allocate: Allocate,
    offers: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    accident: BaseException,
    code: int,
) -> None:
    def break_off(_table: object, path: Path) -> None:
        Path(path).write_bytes(b"PAR1 and then")
        raise accident

    monkeypatch.setattr(parquet, "write_table", break_off)
    before = set(tmp_path.iterdir())
    run = allocate("--budget", "4", "--offers", offers, "-o", tmp_path / "plan")
    assert run.code == code
    assert run.out == ""
    assert set(tmp_path.iterdir()) == before


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_the_middle_leaves_nothing(tmp_path: Path, kind: signal.Signals, code: int) -> None:
    run = process("--budget", "50000", "-o", tmp_path / "plan", "-v")
    assert run.stderr is not None
    assert "reading" in run.stderr.readline()  # read; now it solves
    run.send_signal(kind)
    out, _ = run.communicate(timeout=120)
    assert run.returncode == code
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_has_had_enough_is_no_error(offers: Path) -> None:
    run = process("--budget", "4", "--offers", offers)
    assert run.stdout is not None
    assert run.stderr is not None
    run.stdout.close()
    assert run.stderr.read() == ""
    run.stderr.close()
    assert run.wait(timeout=120) == 0


def test_text_ids_that_look_like_numbers(allocate: Allocate, tmp_path: Path) -> None:
    """Offers whose ids all happen to look like numbers match a users file that also holds other ids."""
    (tmp_path / "offers.csv").write_text("user_id,coupon,value,cost\n12,a,5,1\n13,a,4,1\n")
    (tmp_path / "users.csv").write_text("user_id,segment\n12,new\n13,old\nx9,old\n")
    run = allocate("--budget", "4", "--offers", tmp_path / "offers.csv", "--users", tmp_path / "users.csv")
    assert run.code == 0, run.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--budget", "5", "--offers", ""], 3, "name of the table is empty"),
        (["--budget", "5", "--offers", "OFFERS", "-o", ""], 2, "give the name of a new one"),
        (["--budget", "50.000", "--offers", "OFFERS"], 2, "can mean 50,000 or 50"),
        (["--budget", "5", "--offers", "OFFERS", "--gap", "nan"], 2, "--gap is nan"),
        (["--budget", "5", "--offers", "OFFERS", "--time-limit", "nan"], 2, "--time-limit is nan"),
        (["--budget", "0", "--offers", "OFFERS"], 2, "must be above 0"),
    ],
)
def test_words_that_make_no_sense(allocate: Allocate, offers: Path, words: list[str], code: int, said: str) -> None:
    run = allocate(*(offers if word == "OFFERS" else word for word in words), "-q")
    assert run.code == code
    assert said in run.err
    assert run.out == ""


@pytest.mark.parametrize("name", ["user_id", "coupon"])
def test_null_inside_a_dictionary(name: str) -> None:
    """A null that hides in a dictionary is bad data, not a crash."""
    hidden = pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["a", None]))
    columns = {"user_id": pa.array(["u", "w"]), "coupon": pa.array(["a", "b"]), "value": [1.0, 2.0], "cost": [1.0, 1.0]}
    with pytest.raises(DataError, match="empty or NaN"):
        Problem.from_offers(pa.table({**columns, name: hidden}))


# frontier


def test_frontier_earns_more_with_more_budget(allocate: Allocate, offers: Path, tmp_path: Path) -> None:
    words = ["frontier", "--from", "1", "--to", "6", "--steps", "6", "--offers", offers]
    run = allocate(*words, "--json", "-o", tmp_path / "frontier.csv")
    assert run.code == 0, run.err
    rows = json.loads(run.out)["rows"]
    assert [row["budget"] for row in rows] == [1, 2, 3, 4, 5, 6]
    earned = [row["objective"] for row in rows]
    assert earned == sorted(earned)
    assert all(row["spend"] <= row["budget"] for row in rows)
    table = pd.read_csv(tmp_path / "frontier.csv")
    assert list(table.columns) == ["budget", "objective", "bound", "spend", "issued", "price"]
    assert table["objective"].tolist() == earned
    assert "One more EUR of budget earns" in allocate(*words).out


def test_frontier_writes_each_format_and_replaces_only_with_force(
    allocate: Allocate, offers: Path, tmp_path: Path
) -> None:
    words = ["frontier", "--from", "1", "--to", "2", "--steps", "2", "--offers", offers, "-o"]
    assert allocate(*words, tmp_path / "f.parquet").code == 0
    assert len(pd.read_parquet(tmp_path / "f.parquet")) == 2
    assert allocate(*words, tmp_path / "f.json").code == 0
    assert len(json.loads((tmp_path / "f.json").read_text())["rows"]) == 2
    assert allocate(*words, tmp_path / "f.json").code == 2
    assert allocate(*words, tmp_path / "f.json", "--force").code == 0
    assert allocate(*words, tmp_path / "f.html").code == 0
    page = (tmp_path / "f.html").read_text()
    assert 'aria-label="Line chart of what the best plan of each of 2 budgets earns' in page
    assert "http:" not in page and "https:" not in page
    assert allocate(*words, tmp_path / "f.xlsx").code == 2
    assert allocate(*words, tmp_path / "f.html" / "f.csv").code == 2  # a file stands where its folder should


@pytest.mark.parametrize(
    "words",
    [
        ("--from", "0", "--to", "5"),
        ("--from", "5", "--to", "5"),
        ("--from", "5", "--to", "5.01", "--steps", "9"),
        ("--from", "1", "--to", "5", "--steps", "1"),
        ("--to", "5"),
    ],
)
def test_frontier_refuses_budgets_that_make_no_sense(allocate: Allocate, offers: Path, words: tuple[str, ...]) -> None:
    assert allocate("frontier", *words, "--offers", offers).code == 2


def test_frontier_without_any_plan_is_infeasible(allocate: Allocate, offers: Path, unreachable: Path) -> None:
    run = allocate(
        "frontier", "--from", "1", "--to", "2", "--steps", "2", "--offers", offers, "--campaign", unreachable
    )
    assert run.code == 4
    assert "no plan" in run.out


# Starting


def test_help_shows_an_example_that_runs(allocate: Allocate) -> None:
    assert "Example: allocate --budget 50000" in allocate("--help").out
    assert "Example: allocate frontier --from 10k" in allocate("frontier", "--help").out


def test_version(allocate: Allocate) -> None:
    run = allocate("--version")
    assert run.code == 0
    assert run.out.startswith("coupon-allocator")


def test_starting_loads_nothing_heavy() -> None:
    code = "import allocator.cli, sys; print(sorted({'ortools', 'pandas', 'pydantic', 'polars'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_demo_campaign_is_planned_and_proven(allocate: Allocate) -> None:
    document = json.loads(allocate("--budget", "50k", "--json").out)
    assert document["status"] == "optimal"
    assert document["gap"] < 0.01
    assert document["spend"] > 0.99 * 50_000
    assert all(row["objective"] < document["objective"] for row in document["strategies"] if row["meets_limits"])
