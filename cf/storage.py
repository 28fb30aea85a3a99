"""Save and load fitted models, and parameters: a zip of plain arrays and one JSON page. No pickles: loading runs no code.

A file says what it is and in which version, and carries a digest of its content; what is corrupt, foreign or of another
version is refused with words.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import sparse

from cf import boosting
from cf.errors import FileError, UsageError
from cf.events import Faults
from cf.ids import Ids
from cf.interactions import Interactions, Weighting
from cf.models import als, content, ease, frequency, hybrid, knn, popularity, repeat, tifu, two_tower
from cf.neighbours import similarity
from cf.relevance import chance, crowd, joint, network, relevance, scopes, together

FORMAT = "cf model"
VERSION = 5
MODULES = (
    als,
    content,
    ease,
    frequency,
    hybrid,
    knn,
    popularity,
    repeat,
    tifu,
    two_tower,
    similarity,
    crowd,
    chance,
    joint,
    network,
    together,
    boosting,
    relevance,
    scopes,
)
T = TypeVar("T")


def known_classes() -> dict[str, type]:
    """Return the classes that a file may name."""
    found: dict[str, type] = {cls.__name__: cls for cls in (Interactions, Weighting, Faults)}
    for module in MODULES:
        for name, value in vars(module).items():
            if isinstance(value, type) and dataclasses.is_dataclass(value) and value.__module__ == module.__name__:
                found[f"{module.__name__}.{name}"] = value
    return found


def name_of(value: object) -> str:
    """Return the name that a file gives to an object's class."""
    cls = type(value)
    for name, known in known_classes().items():
        if known is cls:
            return name
    raise UsageError(f"{cls.__name__} cannot be saved")


class Writer:
    """Turns objects into JSON, and their arrays into files of the zip."""

    def __init__(self) -> None:
        self.arrays: list[npt.NDArray[Any]] = []

    def _array(self, array: npt.NDArray[Any]) -> int:
        if array.dtype == object:
            if not all(isinstance(value, str) for value in array.ravel().tolist()):
                sort = next(type(value).__name__ for value in array.ravel().tolist() if not isinstance(value, str))
                raise UsageError(
                    f"ids or segments of type {sort} cannot be saved; make them integers or text before fitting"
                )
            array = array.astype(str)
        self.arrays.append(array)
        return len(self.arrays) - 1

    def encode(self, value: Any) -> Any:
        """Return JSON for a value."""
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, np.ndarray):
            return {"array": self._array(value), "text": value.dtype == object}
        if sparse.issparse(value):
            parts = [self._array(part) for part in (value.data, value.indices, value.indptr)]
            return {"csr": parts, "shape": [int(n) for n in value.shape]}
        if isinstance(value, Ids):
            return {"ids": self.encode(value.values)}
        if isinstance(value, boosting.Trees):
            return {"trees": value.text}
        if isinstance(value, tuple | list):
            return {"tuple": [self.encode(item) for item in value]}
        if isinstance(value, Mapping):
            return {"dict": {str(key): self.encode(item) for key, item in value.items()}}
        if dataclasses.is_dataclass(value):
            fields = {field.name: self.encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
            return {"class": name_of(value), "fields": fields}
        raise UsageError(f"{type(value).__name__} cannot be saved")


class Reader:
    """Turns JSON and arrays into objects of known classes."""

    def __init__(self, arrays: list[npt.NDArray[Any]]) -> None:
        self.arrays = arrays
        self.classes = known_classes()

    def decode(self, page: Any) -> Any:
        """Return the value that JSON stands for."""
        if not isinstance(page, dict):
            return page
        if "array" in page:
            array = self.arrays[page["array"]]
            return array.astype(object) if page["text"] else array
        if "csr" in page:
            data, indices, indptr = (self.arrays[number] for number in page["csr"])
            return sparse.csr_matrix((data, indices, indptr), shape=tuple(page["shape"]))
        if "ids" in page:
            return Ids(self.decode(page["ids"]))
        if "trees" in page:
            return boosting.Trees(page["trees"])
        if "tuple" in page:
            return tuple(self.decode(item) for item in page["tuple"])
        if "dict" in page:
            return {key: self.decode(item) for key, item in page["dict"].items()}
        cls = self.classes[page["class"]]
        return cls(**{name: self.decode(item) for name, item in page["fields"].items()})


def digest(parts: list[bytes]) -> str:
    """Return the SHA-256 of parts of a file."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()


def save(model: Any, path: str | Path) -> None:
    """Write a fitted model, parameters or interactions to a file, whole or not at all; an existing file is replaced."""
    writer = Writer()
    page = json.dumps(writer.encode(model)).encode()
    parts = [page]
    for array in writer.arrays:
        held = io.BytesIO()
        np.save(held, array, allow_pickle=False)
        parts.append(held.getvalue())
    head = {
        "format": FORMAT,
        "version": VERSION,
        "class": type(model).__name__,
        "arrays": len(writer.arrays),
        "sha256": digest(parts),
    }
    target = Path(path)
    draft = target.with_name(target.name + ".partial")
    try:
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            file.writestr("head.json", json.dumps(head))
            file.writestr("model.json", page)
            for number, part in enumerate(parts[1:]):
                file.writestr(f"{number}.npy", part)
        draft.replace(target)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise FileError(f"{target} could not be written: {error}") from error


def load(path: str | Path, expected: type[T] | None = None) -> T:
    """Read what `save` wrote; with `expected`, a file of another class is refused."""
    source = Path(path)
    if not source.is_file():
        raise FileError(f"there is no file {source}")
    try:
        with zipfile.ZipFile(source) as file:
            head = json.loads(file.read("head.json"))
            if head["format"] != FORMAT:
                raise FileError(f"{source} is not a model of cf")
            if head["version"] != VERSION:
                raise FileError(f"{source} is of version {head['version']}; this program reads version {VERSION}")
            parts = [file.read("model.json"), *(file.read(f"{n}.npy") for n in range(head["arrays"]))]
    except (zipfile.BadZipFile, zlib.error, KeyError, TypeError, ValueError, EOFError) as error:
        raise FileError(f"{source} is not a model of cf, or is damaged: {error}") from error
    if digest(parts) != head["sha256"]:
        raise FileError(f"{source} is damaged: its content does not match its digest")
    try:
        arrays = [np.load(io.BytesIO(part), allow_pickle=False) for part in parts[1:]]
        made = Reader(arrays).decode(json.loads(parts[0]))
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise FileError(f"{source} names what this program does not know: {error}") from error
    if type(made).__name__ != head["class"]:
        raise FileError(f"{source} says that it holds a {head['class']}, and holds a {type(made).__name__}")
    if expected is not None and not isinstance(made, expected):
        raise FileError(f"{source} holds a {type(made).__name__}, not a {expected.__name__}")
    return made
