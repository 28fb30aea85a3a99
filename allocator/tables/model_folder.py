"""Reads what a model folder says of itself, without the packages that its model needs: what it was made from, what it asks for."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from allocator.errors import DataError, UsageError
from allocator.tables.faults import in_words
from allocator.tables.files import files_of, hash_inputs
from allocator.tables.output import MANIFEST

FORMAT, VERSION = "allocate model", 3
DOCUMENT, NETWORK, CARD = "model.json", "purchase", "card.json"
AGAIN = "train it again with `allocate train`"
RELEVANCE = "relevance.cf"
TRANSACTIONS, PRODUCTS = "transactions", "products"


@dataclass(frozen=True, eq=False)
class ModelFolder:
    """A model folder whose files are those that were saved.

    Attributes
    ----------
    path
        Where it lies.
    manifest
        What it was made from and with.
    document
        The model's own numbers and names.
    """

    path: Path
    manifest: Mapping[str, Any]
    document: Mapping[str, Any]

    @property
    def is_network(self) -> bool:
        """Whether TensorFlow is needed to load it."""
        return self.document.get("purchase") is None

    @property
    def knows_baskets(self) -> bool:
        """Whether it learned what a purchase spends."""
        return self.document.get("baskets") is not None

    def history(self, transactions: str | None, products: str | None) -> History:
        """Return the past purchases to use: those given, else those of the training; see `history_of`."""
        profile = self.document.get("profile")
        wanted: tuple[str, ...] = () if profile is None else (TRANSACTIONS,)
        if profile is not None and profile.get("category_column") is not None:
            wanted = (TRANSACTIONS, PRODUCTS)
        return history_of(self.manifest.get("history", {}), wanted, transactions, products, self.path)


@dataclass(frozen=True)
class History:
    """Past purchases for a model's features.

    Attributes
    ----------
    transactions, products
        Paths; `None`: none.
    notes
        What was taken from the training.
    """

    transactions: str | None
    products: str | None
    notes: tuple[str, ...] = ()


def history_of(
    recorded: Mapping[str, Any],
    wanted: tuple[str, ...],
    transactions: str | None,
    products: str | None,
    home: Path | None,
) -> History:
    """Return the past purchases to use: those given, else those that a model was trained with.

    Parameters
    ----------
    recorded
        By part, what `record` noted when the model was trained.
    wanted
        The parts that the model's features are made of.
    home
        The model's folder; `None`: it is on no disk.

    Raises
    ------
    UsageError
        Where a wanted part is not given, and what was recorded is not there any more or has changed.
    """
    given = {TRANSACTIONS: transactions, PRODUCTS: products}
    found = {part: path for part, path in given.items() if path is not None}
    taken, faults = [], []
    for part in (TRANSACTIONS, PRODUCTS):
        # Beside transactions that were given, products of the training are taken only where features need them.
        if part in found or part not in recorded or (transactions is not None and part not in wanted):
            continue
        place, fault = _unchanged(recorded[part], home)
        if place is None:
            faults.append(f"{recorded[part]['path']} {fault}")
            continue
        found[part] = place
        taken.append(place)
    missing = [part for part in wanted if part not in found]
    if missing:
        why = f" (those of the training cannot be used: {'; '.join(faults)})" if faults else ""
        raise UsageError(
            f"the model's features are made of past purchases: give {' and '.join('--' + part for part in missing)}{why}"
        )
    if TRANSACTIONS not in found:  # products alone tell nothing
        return History(None, None)
    notes = (f"past purchases are those that the model was trained with: {', '.join(taken)}",) if taken else ()
    return History(found[TRANSACTIONS], found.get(PRODUCTS), notes)


def record(path: str | Path) -> dict[str, Any]:
    """Return what tells a table later: its path, and of each file its name, size, time of change and SHA-256."""
    hashes = hash_inputs([path])
    files = []
    for name, digest in hashes.items():
        state = Path(name).stat()
        files.append(
            {"name": Path(name).name, "bytes": state.st_size, "modified_ns": state.st_mtime_ns, "sha256": digest}
        )
    return {"path": str(path), "files": files}


def seen_from(recorded: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the same with the path as seen from a model folder, so that both may be moved together."""
    path = recorded["path"]
    try:
        return {**recorded, "from_model": Path(os.path.relpath(path, folder)).as_posix()}
    except ValueError:  # another drive of Windows: there is no such path
        return dict(recorded)


def _unchanged(recorded: Mapping[str, Any], home: Path | None) -> tuple[str | None, str]:
    """Return where a recorded table lies with the same content, or why it cannot be used."""
    places = [str(recorded["path"])]
    if home is not None and "from_model" in recorded:
        places.append(os.path.normpath(home / recorded["from_model"]))
    fault = "is not there any more"
    for place in places:
        try:
            files = files_of(place)
        except DataError:
            continue
        if _same(files, recorded["files"]):
            return place, ""
        fault = "has changed since"
    return None, fault


def _same(files: list[Path], recorded: list[Mapping[str, Any]]) -> bool:
    """Return whether files are as recorded; one of the same size and time of change is not read."""
    if [file.name for file in files] != [entry["name"] for entry in recorded]:
        return False
    states = [file.stat() for file in files]
    if any(state.st_size != entry["bytes"] for state, entry in zip(states, recorded, strict=True)):
        return False
    touched = [
        (file, entry)
        for file, state, entry in zip(files, states, recorded, strict=True)
        if state.st_mtime_ns != entry["modified_ns"]
    ]
    return all(hash_inputs([file])[str(file)] == entry["sha256"] for file, entry in touched)


def read_model_folder(folder: str | Path) -> ModelFolder:
    """Read what a model folder says of itself.

    Raises
    ------
    UsageError
        Where there is no such folder, or it holds no model.
    DataError
        Where it is of another version, damaged, or not whole.
    """
    place = Path(folder)
    if not place.is_dir():
        raise UsageError(f"{folder}: there is no such folder; give the one that `allocate train -o FOLDER` wrote")
    if not (place / MANIFEST).is_file():
        raise UsageError(f"{folder} is not a model folder (it has no {MANIFEST}); give one that `allocate train` wrote")
    manifest = read_json(place / MANIFEST)
    if manifest.get("format") != FORMAT:
        raise UsageError(f"{folder} is not a model folder; give one that `allocate train -o FOLDER` wrote")
    if manifest.get("version") != VERSION:
        raise DataError(
            f"{folder} is a model of version {manifest.get('version')!r}, this program reads {VERSION}; {AGAIN}"
        )
    files = manifest.get("files")
    if not isinstance(files, dict) or DOCUMENT not in files:
        raise DataError(f"{place / MANIFEST} is damaged: it does not list the model's files; {AGAIN}")
    for name, digest in files.items():
        path = place / name
        if not path.is_file():
            raise DataError(f"{path} is missing; copy the whole folder of the model, or {AGAIN}")
        with in_words(path):
            content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise DataError(f"{path} is cut short or was changed: it is not what was saved with this model; {AGAIN}")
    return ModelFolder(place, manifest, read_json(place / DOCUMENT))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a model; raises `DataError`."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is missing, cut short or not JSON ({error}); {AGAIN}") from error
    if not isinstance(document, dict):
        raise DataError(f"{path} holds no JSON object; {AGAIN}")
    return document
