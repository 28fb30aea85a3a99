"""What every terminal page is drawn with: in a terminal with rules and colour, in a pipe as plain columns."""

from __future__ import annotations

import sys

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 200  # characters; room for every column


class _Console(Console):
    """A console that leaves a closed pipe to the caller; rich would exit with an error of its own."""

    def on_broken_pipe(self) -> None:
        """Pass the error on."""
        raise BrokenPipeError


def console() -> Console:
    """Return a console on stdout: as wide as the terminal, or wide enough for every column in a pipe."""
    return _Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def line(screen: Console, text: str, style: str = "") -> None:
    """Print a sentence."""
    # In a pipe a sentence is one line, so that grep and diff work on it.
    screen.print(Text(text, style=style), soft_wrap=not screen.is_terminal)


def table(title: str, screen: Console, *columns: str) -> Table:
    """Return an empty table."""
    # Names come from the caller: as Text, their brackets are no markup.
    made = Table(
        title=Text(title),
        title_justify="left",
        title_style="bold" if screen.is_terminal else "",
        box=box.SIMPLE_HEAD if screen.is_terminal else None,
        pad_edge=False,
    )
    for name in columns:
        made.add_column(name)
    return made


def print_table(screen: Console, made: Table) -> None:
    """Print a table, set off from what is around it."""
    screen.print()
    screen.print(made)
    if made.box is None:
        screen.print()
