"""`allocate report`: the page of a plan folder, made again from the folder alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from allocator.cli import exits
from allocator.cli.options import Force, Quiet

REPORT = "report.html"


def register(app: typer.Typer) -> None:
    """Add `allocate report` to the command line."""
    app.command(
        short_help="Make the report of a plan again, and open it.", epilog="Example: allocate report plan/ --open"
    )(report)


def report(
    plan: Annotated[Path, typer.Argument(metavar="FOLDER", help="What `allocate -o FOLDER` wrote.")],
    show: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Write the page here; by default report.html of the folder."
        ),
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Tracebacks of errors.")] = False,
) -> None:
    """Make the report of a plan again, from summary.json (and a simulation kept beside it), and print where it is.

    One self-contained page without user ids, to pass on. The folder's own report.html is replaced; another FILE only with
    --force.
    """
    exits.leave(lambda: _make(plan, output, force=force, show=show, quiet=quiet), verbose=verbose)


def _make(plan: Path, output: Path | None, *, force: bool, show: bool, quiet: bool) -> int:
    from allocator.reporting.remaking import report_of
    from allocator.tables.output import PAGES, check_file, write_file
    from allocator.tables.plan_folder import read_plan_folder

    if output is not None:
        check_file(output, PAGES, force)
    folder = read_plan_folder(plan)
    html = report_of(folder)
    target = folder.path / REPORT if output is None else output
    write_file(target, html, force=force or output is None)
    typer.echo(str(target))
    if show:
        _open(target, quiet=quiet)
    return 0


def _open(target: Path, *, quiet: bool) -> None:
    import webbrowser

    if not webbrowser.open(target.resolve().as_uri()) and not quiet:
        typer.echo(f"No browser was found; open {target} yourself.", err=True)
