"""How results look on stdout: in a terminal, and in a pipe."""

from __future__ import annotations

import sys

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 200  # characters; room for every column
NARROW = 120  # characters; below it wide tables say less


class _Console(Console):
    """A console that leaves a closed pipe to the caller; rich would exit with an error of its own."""

    def on_broken_pipe(self) -> None:
        """Pass the error on."""
        raise BrokenPipeError


def console_on_stdout() -> Console:
    """Return a console on stdout: as wide as the terminal, or wide enough for every column in a pipe."""
    return _Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def line(console: Console, text: str, style: str = "") -> None:
    """Print a sentence."""
    # In a pipe a sentence is one line, so that grep and diff work on it.
    console.print(Text(text, style=style), soft_wrap=not console.is_terminal)


def table_of(title: str, console: Console, *columns: str) -> Table:
    """Return an empty table with these columns of text."""
    # Names come from the caller: as Text, their brackets are no markup.
    table = Table(
        title=Text(title),
        title_justify="left",
        title_style="bold" if console.is_terminal else "",
        box=box.SIMPLE_HEAD if console.is_terminal else None,
        pad_edge=False,
    )
    for name in columns:
        table.add_column(name)
    return table


def is_narrow(console: Console) -> bool:
    """Return whether wide tables must say less to be readable."""
    return console.width < NARROW


def set_off(console: Console, table: Table) -> None:
    """Print a table, set off from what stands around it."""
    console.print()
    console.print(table)
    if table.box is None:
        console.print()


def numbers(table: Table, *names: str) -> None:
    """Add columns of numbers to a table."""
    for name in names:
        table.add_column(Text(name), justify="right", no_wrap=True)


def bar(number: float, top: float, width: int) -> str:
    """Return a bar as long as the number is of `top`; none where there is nothing to show."""
    return "█" * max(0, min(width, round(width * number / top))) if top > 0 and number == number else ""


def visible(name: object) -> str:
    """Return a name from the caller's files with what a terminal would obey, not show, written out."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in str(name))
