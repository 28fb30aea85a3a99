"""Scores a file of users into a file of offers: a block at a time, whole or not at all, and to be gone on with."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from allocator.errors import UsageError, counted
from allocator.learning.asking import for_nobody
from allocator.learning.offers import Scorer
from allocator.learning.unlike import Unlike
from allocator.progress import Progress, silent
from allocator.tables.blocks import UserBlocks, open_users
from allocator.tables.files import hash_inputs
from allocator.tables.output import check_file, write_file
from allocator.tables.placing import UNFINISHED

BLOCK = 32_768  # users
STATE = "state.json"


@dataclass
class CouponSums:
    """Sums over the offers of one coupon."""

    offers: int = 0
    value: float = 0.0
    cost: float = 0.0
    without: float = 0.0
    with_coupon: float = 0.0
    positive: int = 0


@dataclass
class Scored:
    """What was written.

    Attributes
    ----------
    users, offers
        Numbers of them; users without an offer are among the users.
    coupons
        Sums by coupon.
    unlike
        Users that the model has not seen the like of.
    notes
        What a reader of the offers should know.
    effects
        `randomised` or `observational`.
    """

    users: int = 0
    offers: int = 0
    coupons: dict[str, CouponSums] = field(default_factory=dict)
    unlike: Unlike = field(default_factory=Unlike)
    notes: list[str] = field(default_factory=list)
    effects: str = "randomised"

    def document(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        rows = []
        for name, s in self.coupons.items():
            n = max(s.offers, 1)
            rows.append(
                {
                    "coupon": name,
                    "offers": s.offers,
                    "purchase_without": s.without / n,
                    "purchase_with": s.with_coupon / n,
                    "value": s.value / n,
                    "cost": s.cost / n,
                    "positive": s.positive / n,
                }
            )
        return {
            "users": self.users,
            "offers": self.offers,
            "unlike_training": self.unlike.strange,
            "unlike_by_feature": self.unlike.by_feature,
            "coupons": rows,
            "notes": self.notes,
        }


def partial_folder(target: Path) -> Path:
    """Return where the parts of an unfinished file lie."""
    return target.parent / UNFINISHED.format(target.name)


def score_file(
    scorer: Scorer,
    users: str | Path,
    target: Path,
    *,
    resume: bool = False,
    force: bool = False,
    progress: Progress = silent,
) -> Scored:
    """Score all users into one Parquet file, which appears whole or not at all.

    Parts are kept in a hidden folder beside it until the file is complete: with `resume` what a killed run has done is
    not done again.

    Raises
    ------
    UsageError
        Where the target exists and `force` is not given, or what is there to resume is of other input.
    DataError
        Where users cannot be read.
    OutputError
        Where the file cannot be written.
    """
    check_file(target, (".parquet",), force)
    opened = open_users(users)
    key = _fingerprint(scorer, opened)
    folder = partial_folder(target)
    done = _done(folder, key) if resume else 0
    summary = Scored(notes=[*opened.notes, *scorer.notes, *_begun(folder, resume, done)], effects=scorer.effects)
    if not done:
        shutil.rmtree(folder, ignore_errors=True)
        write_file(folder / STATE, json.dumps(key))
    blocks = -(-opened.rows // BLOCK)
    memory = scorer.remember(scorer.own(opened.ids(), opened.kinds is not None), progress)
    summary.notes.extend(memory.notes)
    for number, block in enumerate(_wanted(scorer, opened)):
        part = folder / f"part-{number:06d}.parquet"
        block = memory.joined(block, number * BLOCK, str(users))
        if number >= done:
            table = scorer.score(block, str(users), memory.without_columns(), number * BLOCK)
            write_file(part, partial(_write, table))
        else:
            table = pq.read_table(part, read_dictionary=["coupon"])
        _add(summary, scorer, block, table)
        progress("score", (number + 1) / blocks)
    write_file(target, lambda path: _join(path, folder, blocks), force=force)
    shutil.rmtree(folder, ignore_errors=True)
    for coupon in scorer.coupons:
        if coupon.users and coupon.id not in summary.coupons:
            summary.notes.append(for_nobody(coupon))
        summary.coupons.setdefault(coupon.id, CouponSums())
    sentence = summary.unlike.sentence()
    if sentence:
        summary.notes.append(sentence)
    return summary


def _begun(folder: Path, resume: bool, done: int) -> list[str]:
    """Say where a run begins, where that is not what a reader would take for granted."""
    if done:
        return [f"{counted(done, 'block was', 'blocks were')} done already; the run goes on after them"]
    if resume:
        return ["there is no unfinished run to go on with; this one began anew"]
    if (folder / STATE).is_file():
        return ["an unfinished run was there and is thrown away; --resume would have gone on with it"]
    return []


def _wanted(scorer: Scorer, users: UserBlocks) -> Iterator[pa.Table]:
    names = {*scorer.model.features, *(name for coupon in scorer.coupons for name in (coupon.users or {}))}
    return users.blocks(BLOCK, sorted(names))


def _fingerprint(scorer: Scorer, users: UserBlocks) -> dict[str, Any]:
    """Everything that the offers depend on."""
    campaign = repr(scorer.campaign)
    products = None if scorer.past is None else scorer.past.products
    model = json.dumps(scorer.model.manifest, sort_keys=True, default=str) + json.dumps(scorer.model.card.document())
    return {
        "users": hash_inputs([users.path]),
        "transactions": {} if scorer.past is None else hash_inputs([scorer.past.transactions.path]),
        "products": {} if products is None else hash_inputs([products.path]),
        "campaign": hashlib.sha256(campaign.encode()).hexdigest(),
        "model": hashlib.sha256(model.encode()).hexdigest(),
        "draws": scorer.draws,
        "seed": scorer.seed,
        "block": BLOCK,
    }


def _done(folder: Path, key: dict[str, Any]) -> int:
    """Return how many parts are there already."""
    if not (folder / STATE).is_file():
        return 0
    try:
        found = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if found != key:
        odd = [name for name in key if not isinstance(found, dict) or found.get(name) != key[name]]
        raise UsageError(
            f"{folder}: the run to resume was of another {' and '.join(odd)}; leave out --resume to start anew"
        )
    number = 0
    while (folder / f"part-{number:06d}.parquet").is_file():
        number += 1
    return number


def _write(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, use_dictionary=["coupon", "user_id"], compression="snappy")


def _join(path: Path, folder: Path, blocks: int) -> None:
    writer = None
    try:
        for number in range(blocks):
            table = pq.read_table(folder / f"part-{number:06d}.parquet", read_dictionary=["coupon"])
            if writer is None:
                writer = pq.ParquetWriter(
                    path, table.schema, use_dictionary=["coupon", "user_id"], compression="snappy"
                )
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _add(summary: Scored, scorer: Scorer, block: pa.Table, table: pa.Table) -> None:
    summary.users += block.num_rows
    summary.offers += table.num_rows
    summary.unlike.add(scorer.model.schema, scorer.model.features_of(block), scorer.model.growing)
    names = np.asarray(pc.unique(table["coupon"]).to_pylist(), dtype=object)
    coded = table["coupon"].combine_chunks()
    codes, dictionary = coded.indices.to_numpy(), coded.dictionary.to_pylist()
    width = len(dictionary)
    sums = {
        name: np.bincount(codes, np.asarray(table[name], dtype=np.float64), width)
        for name in ("value", "cost", "purchase_without", "purchase_with")
    }
    counts = np.bincount(codes, minlength=width)
    above = np.bincount(codes, np.asarray(table["value"]) > 0, width)
    for k, name in enumerate(dictionary):
        if name not in names:
            continue
        s = summary.coupons.setdefault(name, CouponSums())
        s.offers += int(counts[k])
        s.positive += int(above[k])
        s.value += float(sums["value"][k])
        s.cost += float(sums["cost"][k])
        s.without += float(sums["purchase_without"][k])
        s.with_coupon += float(sums["purchase_with"][k])
