"""README keeps up with the program: its options, its examples, its campaign file."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from allocator.campaign import load_campaign
from allocator.cli.app import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMAND: Any = typer.main.get_command(app)


def blocks(language: str) -> list[str]:
    """Return the code blocks of README in a language; an empty name: shell commands and output."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [block for name, block in found if name == language]


def options_of(command: Any) -> set[str]:
    names = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    return {name for name in names if name.startswith("-")}  # the others are arguments


def commands() -> Iterator[list[str]]:
    """Yield the words of every `allocate` command that README shows."""
    for block in blocks(""):
        for line in block.splitlines():
            for part in line.split("&&"):
                words = shlex.split(part, comments=True) if part.count("'") % 2 == 0 else part.split()
                if words and Path(words[0]).name == "allocate":
                    yield words[1:]


@pytest.mark.parametrize("command", [COMMAND, *COMMAND.commands.values()], ids=lambda command: command.name)
def test_readme_names_every_option(command: Any) -> None:
    for option in options_of(command):
        assert f"`{option}" in README, option


def test_readme_names_every_subcommand() -> None:
    for name in COMMAND.commands:
        assert f"allocate {name}" in README


def test_every_command_in_readme_exists() -> None:
    shown = list(commands())
    assert len(shown) >= 4
    for words in shown:
        command = COMMAND
        if words and words[0] in COMMAND.commands:
            command, words = COMMAND.commands[words[0]], words[1:]
        for word in words:
            if word.startswith("-"):
                assert word in options_of(command), word


def test_readme_has_the_two_commands_that_ci_runs() -> None:
    marked = README.split("<!-- commands:start -->")[1].split("<!-- commands:end -->")[0]
    first, second = (line for line in marked.splitlines() if line and not line.startswith("```"))
    assert first.endswith("allocate --budget 50000")
    assert second.endswith("pytest")


def test_the_campaign_file_in_readme_is_understood(tmp_path: Path) -> None:
    (block,) = blocks("toml")
    path = tmp_path / "campaign.toml"
    path.write_text(block, encoding="utf-8")
    names = [limit.name for limit in load_campaign(path).limits()]
    assert names == ["budget", "quantity[10off]", "min_quantity[10off]", "new users", "return"]


def test_the_library_example_in_readme_runs() -> None:
    (block,) = blocks("python")
    scope: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), scope)  # it is our own page
    assert scope["result"].status == "optimal"


def test_every_file_that_readme_names_exists() -> None:
    for name in re.findall(r"`((?:examples|tests|\.ci)/[\w./]*)`", README):
        assert (ROOT / name).exists(), name
