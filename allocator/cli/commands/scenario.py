"""`allocate scenario`: days of a large shop, at a share of their size."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from allocator.cli import exits
from allocator.cli.amounts import parse_share
from allocator.cli.options import AsJson, Quiet, Verbose
from allocator.cli.screen import Screen
from allocator.shares import percent

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from allocator.simulation.scenarios import Scenario, Serve


class Name(StrEnum):
    """Which scenario."""

    EVENTS = "events"
    VISITS = "visits"
    COUPONS = "coupons"
    FORECASTS = "forecasts"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(
        short_help="Time a large shop's day on this machine.", epilog="Example: allocate scenario visits --share 2%"
    )(scenario)


def scenario(
    name: Annotated[Name, typer.Argument(metavar="NAME", help="events, visits, coupons or forecasts.")],
    share: Annotated[
        float, typer.Option("--share", parser=parse_share, metavar="SHARE", help="Of the full size; 2% by default.")
    ] = 0.02,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="NUMBER", help="Same seed, same made-up data.")] = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure a large shop's day on this machine: 1 M users' events, 100 k visits, 5,000 coupons or 1,000 forecasts."""
    screen = Screen(quiet=quiet, verbose=verbose)

    def job() -> int:
        with screen.stage("scenario"):
            found = _run(name, share, seed)
        if as_json:
            sys.stdout.write(json.dumps({"schema_version": 1, **asdict(found)}, indent=2) + "\n")
            return 0
        lines = [f"{found.name}, {percent(found.share, 2)} of its full size"]
        lines += [
            f"  {key.replace('_', ' ')}: {number:,.4g}" if number < 1e4 else f"  {key.replace('_', ' ')}: {number:,.0f}"
            for key, number in found.figures.items()
        ]
        if found.extrapolated:
            lines.append("at full size, extrapolated in proportion and not measured:")
            lines += [f"  {key.replace('_', ' ')}: {number:,.4g}" for key, number in found.extrapolated.items()]
        sys.stdout.write("\n".join(lines) + "\n")
        return 0

    exits.leave(job, verbose=verbose)


def _run(name: Name, share: float, seed: int) -> Scenario:
    from allocator.simulation import scenarios

    if name is Name.EVENTS:
        return scenarios.events(share, seed)
    if name is Name.VISITS:
        return scenarios.visits(share, _fit, seed)
    if name is Name.COUPONS:
        return scenarios.coupons(share, seed)
    return scenarios.forecasts(share, seed)


def _fit(table: pa.Table) -> Serve:
    """Fit neighbours of items to what users bought; serve the ten best items of each user."""
    import numpy as np

    import cf

    columns = {name: table[name].to_numpy() for name in table.column_names}
    shop = cf.Interactions.of(
        cf.Events(columns["user_id"], columns["item_id"], columns["day"], money=columns["amount"]), now=366.0
    )
    model = cf.ItemKNN().fit(shop)

    def serve(users: np.ndarray) -> np.ndarray:
        different, place = np.unique(users, return_inverse=True)  # some come twice
        return cf.recommend(model, shop, users=different, n=10).items[place]

    return serve
