"""campaign.toml: coupon terms and limits, checked key by key."""

from __future__ import annotations

import difflib
import math
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from allocator.errors import CampaignError
from allocator.limit import Limit

MOST = 1e12


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)


class Coupon(_Strict):
    """Terms of one coupon type; amounts in currency, or percent."""

    id: str = Field(min_length=1)
    kind: Literal["fixed", "percent", "free_shipping"] = "fixed"
    amount: float | None = Field(default=None, ge=0, le=MOST)
    max_discount: float | None = Field(default=None, ge=0, le=MOST)
    min_spend: float | None = Field(default=None, ge=0, le=MOST)
    scope: dict[str, Any] | None = None
    quantity: float | None = Field(default=None, ge=0, le=MOST)
    min_quantity: float | None = Field(default=None, ge=0, le=MOST)
    valid_days: int | None = Field(default=None, ge=1)

    @property
    def face_value(self) -> float | None:
        """What the coupon costs if redeemed, where its terms alone tell. Currency."""
        return self.max_discount if self.kind == "percent" else self.amount


class LimitTerms(_Strict):
    """One [[limit]]."""

    name: str = Field(min_length=1)
    measure: str | dict[str, float] = "cost"
    users: dict[str, Any] | None = None
    coupons: list[str] | None = None
    at_least: float | None = None
    at_most: float | None = None


class Header(_Strict):
    """The [campaign] table."""

    name: str = "campaign"
    currency: str = "EUR"
    budget: float | None = Field(default=None, gt=0, le=MOST)
    max_per_user: int | str = 1
    exclusive: list[list[str]] = []


class Campaign(_Strict):
    """A campaign file, understood."""

    campaign: Header = Header()
    coupon: list[Coupon] = []
    limit: list[LimitTerms] = []

    @property
    def coupon_ids(self) -> list[str]:
        """Ids in the file's order; empty where the file lists no coupons (then those of the offers count)."""
        return [coupon.id for coupon in self.coupon]

    @property
    def face_values(self) -> dict[str, float]:
        """Face value by coupon, currency, where the terms tell one: the default liability of its offers."""
        return {coupon.id: coupon.face_value for coupon in self.coupon if coupon.face_value is not None}

    def limits(self, budget: float | None = None) -> list[Limit]:
        """Return the budget (`budget` overrides the file's), quantities, minimum quantities and further limits."""
        amount = self.campaign.budget if budget is None else budget
        limits = [] if amount is None else [Limit("budget", "cost", at_most=amount)]
        for coupon in self.coupon:
            if coupon.quantity is not None:
                limits.append(Limit(f"quantity[{coupon.id}]", "count", at_most=coupon.quantity, coupons=[coupon.id]))
            if coupon.min_quantity:
                limits.append(
                    Limit(f"min_quantity[{coupon.id}]", "count", at_least=coupon.min_quantity, coupons=[coupon.id])
                )
        limits += [Limit(**terms.model_dump()) for terms in self.limit]
        return limits


def load_campaign(path: str | Path) -> Campaign:
    """Read campaign.toml.

    Raises
    ------
    CampaignError
        Names the file, the key and what is wrong with it, and the nearest known key.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
        data = tomllib.loads(text)
    except OSError as error:
        raise CampaignError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CampaignError(f"{path}: not a TOML file: {error}") from error
    try:
        campaign = Campaign.model_validate(data)
    except ValidationError as error:
        raise CampaignError(f"{path}: " + "; ".join(_words(item) for item in error.errors())) from error
    _check(campaign, str(path))
    return campaign


def _words(item: Any) -> str:
    place = ""
    for part in item["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f"{'.' if place else ''}{part}"
    if item["type"] == "extra_forbidden":
        models: dict[str, type[BaseModel]] = {"campaign": Header, "coupon": Coupon, "limit": LimitTerms}
        model = models.get(str(item["loc"][0]), Campaign)
        known = list(model.model_fields if len(item["loc"]) > 1 else Campaign.model_fields)
        close = difflib.get_close_matches(str(item["loc"][-1]), known, 1, 0.5)
        return f"unknown key {place}" + (f" (did you mean {close[0]!r}?)" if close else f"; known: {', '.join(known)}")
    if item["type"] == "missing":
        return f"{place} is missing"
    return f"{place} is {item['input']!r}: {item['msg'][0].lower()}{item['msg'][1:]}"


def _check(campaign: Campaign, path: str) -> None:
    ids = campaign.coupon_ids
    for kind, names in (("coupon", ids), ("limit", [limit.name for limit in campaign.limits(1.0)])):
        for name in names:
            if names.count(name) > 1:
                raise CampaignError(f"{path}: two {kind}s are named {name!r}; give each its own name")
    for number, coupon in enumerate(campaign.coupon):
        if coupon.kind == "percent" and coupon.amount is not None and coupon.amount > 100:
            raise CampaignError(f"{path}: coupon[{number}].amount is {coupon.amount:g} percent; at most 100")
        if coupon.min_quantity and coupon.quantity is not None and coupon.min_quantity > coupon.quantity:
            raise CampaignError(f"{path}: coupon[{number}].min_quantity exceeds its quantity")
    if isinstance(campaign.campaign.max_per_user, int) and campaign.campaign.max_per_user < 1:
        raise CampaignError(f"{path}: campaign.max_per_user is {campaign.campaign.max_per_user}; 1 or more")
    named = [(f"campaign.exclusive[{i}]", group) for i, group in enumerate(campaign.campaign.exclusive)]
    named += [(f"limit[{i}].coupons", limit.coupons or []) for i, limit in enumerate(campaign.limit)]
    for place, group in named:
        for name in group:
            if ids and name not in ids:
                close = difflib.get_close_matches(name, ids, 1, 0.5)
                hint = f" (did you mean {close[0]!r}?)" if close else ""
                raise CampaignError(f"{path}: {place}: unknown coupon {name!r}{hint}")
    for number, terms in enumerate(campaign.limit):
        if isinstance(terms.measure, dict) and not all(math.isfinite(weight) for weight in terms.measure.values()):
            raise CampaignError(f"{path}: limit[{number}].measure holds a weight that is not finite")
