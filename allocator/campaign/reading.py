"""Reads a campaign file and puts every fault of it in words."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from allocator.campaign.terms import Campaign, Coupon, Header, LimitTerms, Strict
from allocator.campaign.values import in_words
from allocator.errors import CampaignError, nearest

TABLES: dict[str, type[Strict]] = {"campaign": Header, "coupon": Coupon, "limit": LimitTerms}


def load_campaign(path: str | Path) -> Campaign:
    """Read campaign.toml.

    Raises
    ------
    CampaignError
        Names the file, the key, what is wrong with it, and the nearest known one.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")  # Windows editors begin with a byte-order mark
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise CampaignError(f"{path}: line {line} is not UTF-8 text; save the file as UTF-8") from error
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or str(error)
        raise CampaignError(f"{path}: cannot be read ({words}); give a campaign.toml that exists") from error
    return parse_campaign(text, str(path))


def parse_campaign(text: str, source: str = "campaign.toml") -> Campaign:
    """Understand the text of a campaign file, which messages call `source`; raises as `load_campaign`."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a syntax error; a number or a nesting beyond Python's limits
        raise CampaignError(f"{source}: not a TOML file: {error}{_syntax_hint(text)}") from error
    try:
        campaign = Campaign.model_validate(document)
    except ValidationError as error:
        faults = [_fault(item, document) for item in error.errors(include_url=False)]
    else:
        faults = list(_faults(campaign))
    if len(faults) > 1:
        raise CampaignError(f"{source}: {len(faults)} faults:\n" + "\n".join(f"  {fault}" for fault in faults))
    if faults:
        raise CampaignError(f"{source}: {faults[0]}")
    return campaign


def _syntax_hint(text: str) -> str:
    """Name the two slips that TOML's own messages do not explain."""
    number = re.search(r"=\s*(\d{1,3}(?:,\d{3})+)\b", text)
    if number:
        return f"; a number has no commas: write {number[1].replace(',', '_')}"
    table = re.search(r"^\s*\[(coupon|limit)\]\s*$", text, re.MULTILINE)
    return f"; write [[{table[1]}]] above each {table[1]}" if table else ""


def _fault(item: Any, document: Mapping[str, Any]) -> str:
    """Put one of pydantic's findings in words."""
    loc, kind = item["loc"], item["type"]
    place = _place(loc, document)
    if kind == "extra_forbidden":
        key = str(loc[-1])
        known = list((TABLES[str(loc[0])] if len(loc) > 1 else Campaign).model_fields)
        homes = [f" (it belongs under {_head(name)})" for name, table in TABLES.items() if key in table.model_fields]
        hint = nearest(key, known, 0.8) or (homes[0] if homes else nearest(key, known))
        return f"{place}: unknown key{hint}; known: {', '.join(known)}"
    if kind == "missing":
        return f"{place} is missing"
    if kind in ("model_type", "tuple_type"):
        return f"{place} must be given under a line {_head(str(loc[0]))}, not as {in_words(item['input'])}"
    words = str(item.get("ctx", {}).get("error", item["msg"]))
    return f"{place}: {words}" if words.startswith(("the ", "'")) else f"{place} {words}"


def _place(loc: Iterable[str | int], document: Mapping[str, Any]) -> str:
    """Write a place as `coupon[2].amount`, with the id or name of what is there."""
    words, here, label = "", document, ""
    for part in loc:
        words += f"[{part + 1}]" if isinstance(part, int) else f"{'.' if words else ''}{part}"
        try:
            here = here[part]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            here = {}
        if isinstance(part, int) and isinstance(here, Mapping):
            name = here.get("id", here.get("name"))
            label = f" ({name!r})" if isinstance(name, str) and name else ""
    return words + label


def _faults(campaign: Campaign) -> Iterator[str]:
    """Yield what does not fit together, where each key for itself is fine."""
    known = campaign.coupon_ids
    taken = {"budget": "campaign.budget"}
    taken |= {f"{word}[{name}]": f"the coupon's {word}" for name in known for word in ("quantity", "min_quantity")}
    tables: list[tuple[str, str, dict[str, str], tuple[Coupon | LimitTerms, ...]]] = [
        ("coupon", "id", {}, campaign.coupon),
        ("limit", "name", taken, campaign.limit),
    ]
    for table, key, names, entries in tables:
        for number, entry in enumerate(entries, start=1):
            name = getattr(entry, key)
            for odd, words in entry.faults():
                yield f"{table}[{number}].{odd} ({name!r}) {words}"
            if name in names:
                yield f"{table}[{number}].{key}: {name!r} is taken by {names[name]}; choose another"
            names.setdefault(name, f"{table}[{number}]")
    named = [(f"campaign.exclusive[{number}]", group) for number, group in enumerate(campaign.exclusive, start=1)]
    named += [(f"limit[{number}].coupons", terms.coupons or ()) for number, terms in enumerate(campaign.limit, start=1)]
    for place, group in named:
        for name in group:
            if known and name not in known:
                yield f"{place}: unknown coupon {name!r}{nearest(name, known)}; known: {', '.join(known[:12])}"


def _head(table: str) -> str:
    return f"[{table}]" if table == "campaign" else f"[[{table}]]"
