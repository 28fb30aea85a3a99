"""Options that several commands have, and mean the same by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from allocator.cli.amounts import parse_amount, parse_share

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of tables.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Nothing on stderr but errors.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Time of each stage on stderr; tracebacks of errors.")]

Budget = Annotated[
    float | None,
    typer.Option(
        "--budget",
        parser=parse_amount,
        metavar="AMOUNT",
        help="What the plan may cost at most; overrides the campaign's. 50_000, 50,000, 50k and 1.5m are read too.",
    ),
]
Offers = Annotated[
    str | None,
    typer.Option(
        "--offers",
        metavar="PATH",
        help="One row for each candidate (user, coupon): Parquet or CSV; a file, a folder or a glob. "
        "Without it, a built-in demo campaign.",
    ),
]
CampaignFile = Annotated[
    Path | None, typer.Option("--campaign", metavar="FILE", help="campaign.toml: budget, coupon terms, limits.")
]
Users = Annotated[
    str | None, typer.Option("--users", metavar="PATH", help="Attributes of the users that limits refer to.")
]
ModelFolder = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="FOLDER",
        help="What `allocate train` wrote: offers are made from it, --users and --campaign, and kept beside the plan.",
    ),
]
TransactionsPath = Annotated[
    str | None,
    typer.Option(
        "--transactions", metavar="PATH", help="With --model: past purchases: user_id, item_id, time, amount."
    ),
]
ProductsPath = Annotated[
    str | None,
    typer.Option("--products", metavar="PATH", help="With --model: item_id and what kind of thing it is."),
]
PlanFolder = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FOLDER",
        help="Write plan.parquet, summary.json, report.html and manifest.json into this new folder.",
    ),
]
Confidence = Annotated[
    float | None,
    typer.Option(
        "--confidence",
        parser=parse_share,
        metavar="SHARE",
        help="Keep the budget with this probability, such as 95%, instead of for expected spend alone; overrides the campaign's.",
    ),
]
TimeLimit = Annotated[
    float, typer.Option("--time-limit", metavar="SECONDS", help="Stop then, with the best plan so far and its gap.")
]
Gap = Annotated[
    float, typer.Option("--gap", metavar="SHARE", help="Gap, as a share of the plan's value, that counts as optimal.")
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, metavar="NUMBER", help="Threads; by default all. The plan does not depend on it."),
]
Seed = Annotated[
    int, typer.Option("--seed", min=0, metavar="NUMBER", help="Seed of the samples that the prices start from.")
]
Holdout = Annotated[
    float | None,
    typer.Option(
        "--holdout",
        parser=parse_share,
        metavar="SHARE",
        help="Keep this share of the users, drawn at random within strata, without any coupon: a control group "
        "for `allocate measure`. 5% or 0.05.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check the input, say what was understood, do not solve.")]
