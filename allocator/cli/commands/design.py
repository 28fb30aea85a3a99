"""`allocate design`: how large the control group of a campaign must be."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from allocator.cli import exits
from allocator.cli.amounts import parse_amount, parse_share
from allocator.cli.options import AsJson, Quiet, Verbose
from allocator.cli.screen import Screen
from allocator.errors import UsageError
from allocator.shares import percent

if TYPE_CHECKING:
    from allocator.simulation.sizing import Promise


@dataclass(frozen=True)
class Asked:
    """The command's words."""

    plan: Path | None
    effect: float | None
    users: float | None
    spend: str | None
    sd: float | None
    rate: float | None
    correlation: float | None
    power: float
    confidence: float
    holdout: float | None
    margin: float | None
    as_json: bool


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        short_help="How many users to hold out, for which precision.",
        epilog="Example: allocate design --effect 0.5 --users 120k --sd 20 --correlation 0.7 --power 0.8",
    )(design)


def design(
    plan: Annotated[
        Path | None,
        typer.Argument(metavar="[PLAN]", help="A plan folder: its users, and the effect that it promises."),
    ] = None,
    effect: Annotated[
        float | None,
        typer.Option(
            "--effect",
            parser=parse_amount,
            metavar="AMOUNT",
            help="Smallest effect per user worth finding, in currency (with --rate: a share, such as 0.01); by default what "
            "the plan promises.",
        ),
    ] = None,
    users: Annotated[
        float | None,
        typer.Option("--users", parser=parse_amount, metavar="NUMBER", help="Users who are planned to get a coupon."),
    ] = None,
    spend: Annotated[
        str | None,
        typer.Option(
            "--spend",
            metavar="PATH",
            help="user_id, spend of a past window of the same length, optional pre_spend of the one before: gives --sd and "
            "--correlation.",
        ),
    ] = None,
    sd: Annotated[
        float | None,
        typer.Option("--sd", parser=parse_amount, metavar="AMOUNT", help="Standard deviation of spend between users."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate", parser=parse_share, metavar="SHARE", help="Instead of --sd: share of users who buy anyway."
        ),
    ] = None,
    correlation: Annotated[
        float | None,
        typer.Option(
            "--correlation", metavar="NUMBER", help="Of a user's spend with that of the window before, -1 to 1 (CUPED)."
        ),
    ] = None,
    power: Annotated[
        float, typer.Option("--power", parser=parse_share, metavar="SHARE", help="Chance of finding the effect.")
    ] = 0.8,
    confidence: Annotated[
        float, typer.Option("--confidence", parser=parse_share, metavar="SHARE", help="Of the two-sided interval.")
    ] = 0.95,
    holdout: Annotated[
        float | None,
        typer.Option("--holdout", parser=parse_share, metavar="SHARE", help="Say what this holdout can tell instead."),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option("--margin", parser=parse_share, metavar="SHARE", help="Earned share of the price, such as 30%."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say how many users to hold out, and what a control group of that size can tell."""
    asked = Asked(plan, effect, users, spend, sd, rate, correlation, power, confidence, holdout, margin, as_json)
    exits.leave(lambda: _run(asked, Screen(quiet=quiet, verbose=verbose)), verbose=verbose)


def _run(asked: Asked, screen: Screen) -> int:
    from allocator.reporting import designed, measurement
    from allocator.reporting.summary import to_json
    from allocator.simulation import sizing
    from allocator.simulation.design import design as size

    _refuse_twice(asked)
    with screen.stage("read"):
        promise = None if asked.plan is None else sizing.read_promise(asked.plan, asked.margin)
        noise = _noise(asked, promise)
    users, effect = _users(asked, promise), _effect(asked, promise)
    terms = {"power": asked.power, "confidence": asked.confidence, "correlation": noise.correlation}
    found = size(users=users, effect=effect, sd=noise.sd, holdout=asked.holdout, **terms)
    coupons = [] if promise is None or not found.possible else promise.by_coupon(found, noise.sd)
    currency = designed.PURCHASES if asked.rate is not None else ("EUR" if promise is None else promise.currency)
    notes = [*noise.notes, *([] if promise is None else promise.notes)]
    if promise is not None and found.possible:
        notes.append(promise.price(found.holdout))
    if asked.as_json:
        rows = [{"coupon": name, "design": item, "promised": promised} for name, item, promised in coupons]
        sys.stdout.write(to_json(measurement.design_document(found, _rows(rows, notes, currency))))
        return 0
    designed.show_design(found, currency, notes)
    if coupons:
        designed.show_coupon_designs(coupons, currency)
    return 0


def _rows(rows: list[dict[str, Any]], notes: list[str], currency: str) -> dict[str, Any]:
    import dataclasses

    plain = [{**row, "design": dataclasses.asdict(row["design"])} for row in rows]
    return {"currency": currency, "coupons": plain, "notes": notes}


def _refuse_twice(asked: Asked) -> None:
    """Refuse two sources of one number."""
    given = [
        name
        for name, value in (("--sd", asked.sd), ("--rate", asked.rate), ("--spend", asked.spend))
        if value is not None
    ]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} say the same; give one of them")
    if not given:
        raise UsageError(
            "how much do users differ? give --sd 20 (standard deviation of spend), --rate 5% (share who buy), or --spend "
            "before.parquet (spend of a past window)"
        )
    if asked.spend is not None and asked.correlation is not None:
        raise UsageError("--spend gives the correlation by its column pre_spend; leave out --correlation")
    if asked.plan is not None and asked.users is not None:
        raise UsageError("the plan says how many users get a coupon; leave out --users")


def _noise(asked: Asked, promise: Promise | None) -> Any:
    from allocator.simulation import sizing

    if asked.spend is not None:
        return sizing.noise_of(asked.spend, promise)
    if asked.rate is not None:
        return sizing.noise_of_rate(asked.rate, asked.correlation or 0.0)
    assert asked.sd is not None
    return sizing.Noise(asked.sd, asked.correlation or 0.0)


def _users(asked: Asked, promise: Promise | None) -> int:
    if promise is not None:
        return promise.users
    if asked.users is None or asked.users != int(asked.users):
        raise UsageError("give a plan folder, or --users 120000: how many users are planned to get a coupon")
    return int(asked.users)


def _effect(asked: Asked, promise: Promise | None) -> float:
    if asked.effect is not None:
        return _possible(asked.effect, asked.rate)
    if promise is None or asked.rate is not None:
        raise UsageError("give --effect: the smallest effect per user worth finding, such as 0.5")
    return promise.effect


def _possible(effect: float, rate: float | None) -> float:
    """Return the effect; raises `UsageError` where no effect can be so."""
    if effect < 0.0:
        raise UsageError(
            f"--effect is {effect:g}; give its size, {-effect:g}: the test is two-sided and finds a loss of that size as well"
        )
    if rate is not None and rate + effect > 1.0:
        raise UsageError(
            f"--effect is {effect:g}, and {percent(rate, None)} of the users buy anyway: more than all would buy. With --rate an "
            "effect is a share of the users, such as 0.01"
        )
    return effect
