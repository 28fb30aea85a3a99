"""A page on the files of a campaign: what to supply, and what their columns are called."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from allocator.history import people, products, transactions, trial
from allocator.tables.named import Column

TABLES: tuple[tuple[str, str, Sequence[Column], str], ...] = (
    (
        "transactions",
        "One row for each line of a purchase. Needed to know users: how often they come, what they spend and on what. "
        "A year is good; returns and cancelled rows are left out and counted.",
        transactions.COLUMNS,
        "",
    ),
    (
        "products",
        "One row for each item. Needed where a coupon is good for some items only (`scope`).",
        products.COLUMNS,
        "Every other column is an attribute that a coupon's `scope` can name, such as department or brand.",
    ),
    (
        "users",
        "One row for each user who may get a coupon. Needed to have offers predicted, and where limits refer to users.",
        people.COLUMNS,
        "Every other column is an attribute that a limit's `users` can name, such as segment or region.",
    ),
    (
        "trial",
        "A past campaign in which chance decided who got which coupon and who got none. Needed to learn what coupons "
        "change; nothing else can tell.",
        trial.COLUMNS,
        "Every other column is a feature of the user that was known before the campaign. Where its coupons are not those of "
        "`campaign.toml`, put their terms beside it as `trial.toml`, in the same form: a coupon that was never tried is related "
        "to them by its terms. Where nobody drew lots, put a list of whom past campaigns were sent to beside it instead, named "
        "`sent`, with `user_id`, `coupon` and `time` (the campaign's first day): effects are then observational.",
    ),
)


def page(folder: str, transactions_path: str | None = None, products_path: str | None = None) -> str:
    """Return the page in Markdown.

    Parameters
    ----------
    folder
        Where it will lie.
    transactions_path, products_path
        Where these tables are, if they are somewhere else.
    """
    text = f"""# {folder}

`campaign.toml` says which coupons there are and what the plan must keep. Each key is explained there.

Put the tables beside it: Parquet or CSV (with the columns' names on the first line, separated by commas, UTF-8), each a
file or a folder of files, named `transactions`, `products`, `users`, `trial` or `sent` (and `offers`, where you have them already). All but
one are optional; what each is good for stands below.

Then check everything:

    allocate check {shlex.quote(folder)}{_options(transactions_path, products_path)}
"""
    for name, purpose, columns, more in TABLES:
        text += f"\n## {name}\n{purpose}\n\n| column | holds | | also called |\n| --- | --- | --- | --- |\n"
        for column in columns:
            need = "" if column.required else "optional: "
            text += (
                f"| `{column.name}` | {column.holds.value} | {need}{column.meaning} | {', '.join(column.aliases)} |\n"
            )
        text += f"\n{more}\n" if more else ""
    return text


def _options(transactions_path: str | None, products_path: str | None) -> str:
    named = (("transactions", transactions_path), ("products", products_path))
    return "".join(f" --{option} {shlex.quote(path)}" for option, path in named if path is not None)
