"""The command line as a planner meets it."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from allocator import Problem
from allocator.errors import DataError

ROOT = Path(__file__).parent.parent


def allocate(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    return subprocess.run([sys.executable, "-m", "allocator", *words], capture_output=True, text=True, cwd=ROOT)


@pytest.fixture
def offers(tmp_path: Path) -> Path:
    """Write twelve offers."""
    rows = [(user, coupon, 5.0 + user - cost, cost) for user in range(6) for coupon, cost in (("a", 1.0), ("b", 3.0))]
    path = tmp_path / "offers.csv"
    pd.DataFrame(rows, columns=["user_id", "coupon", "value", "cost"]).to_csv(path, index=False)
    return path


def test_plan_folder(offers: Path, tmp_path: Path) -> None:
    """A plan folder is written whole; a second run refuses to replace it without --force."""
    out = tmp_path / "plan"
    run = allocate("--budget", "4", "--offers", str(offers), "-o", str(out), "--json")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["status"] == "optimal"
    assert {item.name for item in out.iterdir()} == {"plan.parquet", "summary.json", "report.html", "manifest.json"}
    assert pd.read_parquet(out / "plan.parquet")["cost"].sum() <= 4
    assert allocate("--budget", "4", "--offers", str(offers), "-o", str(out)).returncode == 2
    assert allocate("--budget", "3", "--offers", str(offers), "-o", str(out), "--force").returncode == 0


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
def test_bad_data(offers: Path, change, words: str) -> None:  # type: ignore[no-untyped-def]
    """Bad data gives exit code 3 and says what is wrong."""
    change(pd.read_csv(offers)).to_csv(offers, index=False)
    run = allocate("--budget", "4", "--offers", str(offers))
    assert run.returncode == 3
    assert words in run.stderr
    assert run.stdout == ""


def test_usage(offers: Path, tmp_path: Path) -> None:
    """A budget of 0, a word for a number, a misspelt key: exit code 2."""
    assert allocate("--budget", "0", "--offers", str(offers)).returncode == 2
    assert allocate("--budget", "lots", "--offers", str(offers)).returncode == 2
    campaign = tmp_path / "campaign.toml"
    campaign.write_text("[campaign]\nbudgte = 5\n")
    run = allocate("--offers", str(offers), "--campaign", str(campaign))
    assert run.returncode == 2
    assert "'budget'" in run.stderr


def test_infeasible(offers: Path, tmp_path: Path) -> None:
    """Limits that cannot be met together: exit code 4."""
    campaign = tmp_path / "campaign.toml"
    campaign.write_text('[campaign]\nbudget = 4\n[[coupon]]\nid = "a"\n[[coupon]]\nid = "b"\nmin_quantity = 3\n')
    assert allocate("--offers", str(offers), "--campaign", str(campaign)).returncode == 4


def test_readme_names_every_option() -> None:
    """README mentions each option of the main job."""
    words = allocate("--help").stdout
    readme = (ROOT / "README.md").read_text()
    for option in {word.strip(",") for word in words.split() if word.startswith("--")} - {"--help"}:
        assert option in readme, option


def test_text_ids_that_look_like_numbers(tmp_path: Path) -> None:
    """Offers whose ids all happen to look like numbers match a users file that also holds other ids."""
    (tmp_path / "offers.csv").write_text("user_id,coupon,value,cost\n12,a,5,1\n13,a,4,1\n")
    (tmp_path / "users.csv").write_text("user_id,segment\n12,new\n13,old\nx9,old\n")
    run = allocate("--budget", "4", "--offers", str(tmp_path / "offers.csv"), "--users", str(tmp_path / "users.csv"))
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("name", ["user_id", "coupon"])
def test_null_inside_a_dictionary(name: str) -> None:
    """A null that hides in a dictionary is bad data, not a crash."""
    hidden = pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["a", None]))
    columns = {"user_id": pa.array(["u", "w"]), "coupon": pa.array(["a", "b"]), "value": [1.0, 2.0], "cost": [1.0, 1.0]}
    with pytest.raises(DataError, match="empty or NaN"):
        Problem.from_offers(pa.table({**columns, name: hidden}))
