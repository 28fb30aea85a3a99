"""One module a subcommand; each registers its command, which is parse -> call -> print."""

from typing import Protocol

import typer


class Command(Protocol):
    """A module of this package."""

    def register(self, app: typer.Typer) -> None:
        """Add the command to the command line."""
