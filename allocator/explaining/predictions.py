"""What stands behind a user's predictions, where the plan, or the caller, names the model that made them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from allocator.errors import DataError, UsageError
from allocator.explaining.inputs import Opened

if TYPE_CHECKING:
    from allocator.learning.reasons import CouponReasons

OTHERS = 500  # users to compare with


def reasons_of(opened: Opened, user: str) -> tuple[CouponReasons, ...]:
    """Return why the model expects what it does of a user; nothing, with a note where that is a loss, without a model.

    A model that the caller names must do; one that the manifest names may have gone since: that is noted.
    """
    if not opened.has("model"):
        if opened.has("transactions") or opened.has("products"):
            raise UsageError("--transactions and --products tell of a model's predictions; give --model too")
        return ()
    chosen = opened.given.model is not None
    try:
        return _reasons(opened, user)
    except (DataError, UsageError) as error:
        if chosen:
            raise
        opened.notes.append(f"Why the model predicts what it does is not told: {error}")
        return ()


def _reasons(opened: Opened, user: str) -> tuple[CouponReasons, ...]:
    if not opened.has_users:
        raise UsageError("--model needs the users that were scored; give them with --users")
    row = opened.row_of_user(user)
    if not row.num_rows:
        raise DataError(f"the users table has no row for user {user!r}, so the model's features are not known")
    table = opened.users()
    rows = np.random.default_rng(0).choice(table.num_rows, min(OTHERS, table.num_rows), replace=False)
    others = table.take(pa.array(np.sort(rows)))
    try:
        from allocator.learning import load_model
        from allocator.learning.past import Past
        from allocator.learning.reasons import reasons
    except ModuleNotFoundError as error:
        raise UsageError(
            f"models need {error.name}, not installed here: pip install 'coupon-allocator[learn]'"
        ) from error

    model = load_model(opened.place("model"))
    lines, items = (opened.place(part) if opened.has(part) else None for part in ("transactions", "products"))
    history, past = model.history(lines, items), None
    opened.notes.extend(history.notes)
    if history.transactions is not None:
        past = Past.read(history.transactions, history.products)
        opened.notes.extend(past.notes)
    return reasons(model, opened.campaign(), row, others, past)
