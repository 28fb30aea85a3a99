"""What `train` and `score` do before any model is fitted: files are joined and checked. `allocate check` does the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from allocator.campaign import Campaign, Coupon
from allocator.errors import DataError
from allocator.history import ProfileSchema, Users
from allocator.learning.asking import features_for, for_nobody, who_may
from allocator.learning.joining import joined
from allocator.learning.past import Past
from allocator.learning.training import bare_trial, terms_of
from allocator.learning.trials import TrialArrays
from allocator.progress import Progress, silent
from allocator.scoring import check_basket
from allocator.tables.blocks import UserBlocks
from uplift import UpliftError

BLOCK = 262_144  # users looked at together


@dataclass(frozen=True, eq=False)
class Prepared:
    """A trial with all that is known of its users, which a model can be fitted to.

    Attributes
    ----------
    profile
        Which of its features are made of transactions; `None`: none.
    """

    table: TrialArrays
    profile: ProfileSchema | None


def prepare(
    table: TrialArrays, users: Users | None, past: Past | None, campaign: Campaign | None, progress: Progress = silent
) -> Prepared:
    """Do what `train` does before it fits anything.

    Raises
    ------
    DataError, UsageError
        Where `train` would refuse: attributes or profiles cannot be joined, coupons are not in the campaign's file.
    """
    start = None if campaign is None else campaign.campaign.start
    table, profile = joined(table, users, past, start, (), progress)
    try:
        bare_trial(table, terms_of(table, campaign))
    except UpliftError as error:
        raise DataError(f"{table.source}: {error}") from error
    return Prepared(table, profile)


def refuse_unscorable(prepared: Prepared, users: UserBlocks, campaign: Campaign, past: Past | None) -> None:
    """Raise where `score` would refuse these users and this campaign with a model of the trial.

    Raises
    ------
    DataError, UsageError
        Where users lack the trial's features or have them as another kind, a coupon's `users` names a column that is
        not there, nobody knows what a purchase spends, or past purchases cannot tell of the coupons' scopes.
    """
    check_basket(prepared.table.spend is not None, campaign.campaign.basket)
    made = () if prepared.profile is None else prepared.profile.names
    numeric = {n: values.dtype.kind == "f" for n, values in prepared.table.features.items() if n not in made}
    for block in users.blocks(BLOCK):
        if numeric:
            features_for(block, users.path, numeric, None)
        for name in made:
            if name in block.column_names:
                raise DataError(f"{users.path}: column {name!r} is also a feature made of transactions; rename it")
    if past is not None:
        ids = past.own(users.ids(), users.kinds is not None)
        past.fitting(ids, users.path)
        past.refuse_unforetellable(campaign.coupon, campaign.campaign.start)


def eligible(users: UserBlocks, coupons: Sequence[Coupon]) -> tuple[np.ndarray, list[str]]:
    """Return who may get each coupon, `(n_users, coupons)` bool, and a warning for each that nobody may.

    Raises
    ------
    DataError
        Where a coupon's `users` names a column that is not there.
    """
    names = sorted({name for coupon in coupons for name in (coupon.users or {})})
    allowed = np.concatenate([who_may(block, coupons, users.path) for block in users.blocks(BLOCK, names)])
    return allowed, [for_nobody(coupon) for k, coupon in enumerate(coupons) if not allowed[:, k].any()]
