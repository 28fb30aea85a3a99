"""A trained network on disk: one `.keras` file a stage and one JSON file that says everything else, with hashes."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uplift.amounts import Amount
from uplift.boosted import Boosted
from uplift.errors import ModelFileError
from uplift.features import Schema
from uplift.links import Link
from uplift.network.stage import Stage
from uplift.pairs import PairSchema
from uplift.stacking import Scale, Stack
from uplift.trees import Forest
from uplift.trial import OutcomeKind, Terms
from uplift.wide import Wide

FORMAT = "uplift-network"
VERSION = 5  # 5: what is hidden of users, whichever candidates are believed; errors of averages by chance alone
_DOCUMENT = "model.json"


@dataclass(frozen=True, eq=False)
class Parts:
    """What a trained network is made of, and what a folder holds of it (see `FittedNetwork`)."""

    stages: tuple[Stage, ...]
    amount: Amount | None
    terms: Terms | None
    kind: OutcomeKind


def save(model: Parts, folder: Path) -> None:
    """Write a new folder, whole or not at all.

    Raises
    ------
    ModelFileError
        Where the folder exists and is not an older model of this kind.
    """
    if folder.exists() and not (folder / _DOCUMENT).exists():
        raise ModelFileError(f"{folder} exists and holds no model; give a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        stages = []
        for position, stage in enumerate(model.stages):
            path = partial / f"stage{position}.keras"
            with _quiet():
                stage.network.save(path)
            stages.append({**_stage_document(stage), "network": path.name, "sha256": _digest(path)})
        document = {
            "format": FORMAT,
            "version": VERSION,
            "kind": str(model.kind),
            "terms": _terms_document(model.terms),
            "stages": stages,
            "amount": _amount_document(model.amount),
        }
        (partial / _DOCUMENT).write_text(json.dumps(document, indent=1), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        partial.replace(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out NumPy's note to Keras on how it copies TensorFlow's variables: it concerns neither file nor user."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="__array__ implementation doesn't accept a copy", category=DeprecationWarning
        )
        yield


def load(folder: Path) -> Parts:
    """Read a folder that `save` wrote.

    Raises
    ------
    ModelFileError
        Where it is absent, damaged, of another format or of another version.
    """
    document = _document(folder)
    try:
        return Parts(
            stages=tuple(_stage(folder, entry) for entry in document["stages"]),
            amount=_amount(document["amount"]),
            terms=_terms(document["terms"]),
            kind=OutcomeKind(document["kind"]),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ModelFileError(f"{folder / _DOCUMENT} is damaged: {error!r}; train and save the model again") from error


def _document(folder: Path) -> dict[str, Any]:
    path = folder / _DOCUMENT
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelFileError(f"{folder} holds no model: there is no {_DOCUMENT} in it") from None
    except NotADirectoryError:
        raise ModelFileError(f"{folder} is a file; give the folder that a model was saved in") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelFileError(f"{path} cannot be read: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ModelFileError(f"{path} is no saved uplift network (its format is not {FORMAT!r})")
    if document.get("version") != VERSION:
        raise ModelFileError(
            f"{path} has version {document.get('version')}; this release reads version {VERSION}. "
            "Train the model again, or install the release that wrote it"
        )
    return document


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _stage_document(stage: Stage) -> dict[str, Any]:
    return {
        "schema": stage.schema.to_json(),
        "binary": stage.link.binary,
        "share": stage.share.tolist(),
        "folds": stage.folds,
        "wide": [{"coefficients": fit.coefficients.tolist(), "relation": fit.relation.tolist()} for fit in stage.wide],
        "trees": [_forest_document(forest) for forest in stage.trees],
        "boosted": [_boosted_document(fit) for fit in stage.boosted],
        "base_line": [float(value) for value in stage.base_line],
        "log_unit": stage.log_unit,
        "stack": {
            "weights": stage.stack.weights,
            "weight_errors": stage.stack.weight_errors,
            "slopes": stage.stack.slopes,
            "shared": stage.stack.shared,
            "scale": asdict(stage.stack.scale),
            "bend": stage.stack.bend,
            "centers": stage.stack.centers,
            "averages": stage.stack.averages,
            "average_errors": stage.stack.average_errors,
            "noise": stage.stack.noise,
            "level": stage.stack.level,
            "gain": stage.stack.gain,
        },
        "hidden": stage.hidden,
        "shares": None if stage.shares is None else stage.shares.tolist(),
        "pairs": None if stage.pair_schema is None else stage.pair_schema.to_json(),
    }


def _stage(folder: Path, entry: dict[str, Any]) -> Stage:
    path = folder / Path(entry["network"]).name
    if not path.exists():
        raise ModelFileError(f"{path} is missing; copy the whole folder of a model")
    if _digest(path) != entry["sha256"]:
        raise ModelFileError(
            f"{path} is not the file that was saved with this model: it is damaged or from another one"
        )
    stack = entry["stack"]
    return Stage(
        schema=Schema.from_json(entry["schema"]),
        link=Link(bool(entry["binary"])),
        share=np.array(entry["share"]),
        folds=int(entry["folds"]),
        network=_network(path),
        wide=tuple(Wide(np.array(fit["coefficients"]), np.array(fit["relation"])) for fit in entry["wide"]),
        trees=tuple(_forest(forest) for forest in entry["trees"]),
        boosted=tuple(_boosted(fit) for fit in entry["boosted"]),
        base_line=tuple(float(value) for value in entry["base_line"]),
        log_unit=float(entry["log_unit"]),
        stack=Stack(
            weights=dict(stack["weights"]),
            weight_errors=dict(stack["weight_errors"]),
            slopes=tuple(stack["slopes"]),
            shared=float(stack["shared"]),
            scale=Scale(**stack["scale"]),
            bend=tuple(stack["bend"]),
            centers={name: tuple(center) for name, center in stack["centers"].items()},
            averages=tuple(stack["averages"]),
            average_errors=tuple(stack["average_errors"]),
            noise=tuple(stack["noise"]),
            level=float(stack["level"]),
            gain=float(stack["gain"]),
        ),
        shares=None if entry["shares"] is None else np.array(entry["shares"]),
        hidden=None if entry["hidden"] is None else tuple(float(value) for value in entry["hidden"]),
        pair_schema=None if entry["pairs"] is None else PairSchema.from_json(entry["pairs"]),
    )


def _forest_document(forest: Forest) -> dict[str, Any]:
    arrays = {"edges": forest.edges, "feature": forest.feature, "cut": forest.cut, "leaf": forest.leaf}
    return {name: array.tolist() for name, array in arrays.items()}


def _forest(document: dict[str, Any]) -> Forest:
    return Forest(
        edges=np.array(document["edges"], dtype=np.float32),
        feature=np.array(document["feature"], dtype=np.int32),
        cut=np.array(document["cut"], dtype=np.uint8),
        leaf=np.array(document["leaf"], dtype=np.float64),
    )


_BOOSTED = {"codes": np.float64, "roots": np.int64, "feature": np.int64, "cut": np.float64} | {
    "left": np.int64,
    "right": np.int64,
    "leaf": np.float64,
}


def _boosted_document(fit: Boosted) -> dict[str, Any]:
    return {name: getattr(fit, name).tolist() for name in _BOOSTED}


def _boosted(document: dict[str, Any]) -> Boosted:
    return Boosted(**{name: np.array(document[name], dtype=kind) for name, kind in _BOOSTED.items()})


def _network(path: Path) -> Any:
    import keras

    import uplift.network.graph  # noqa: F401 (registers the layers)

    try:
        with _quiet():
            return keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ModelFileError(f"{path} cannot be read by Keras {keras.__version__}: {error}") from error


def _terms_document(terms: Terms | None) -> dict[str, Any] | None:
    return None if terms is None else {"depth": terms.depth.tolist(), "group": terms.group.tolist()}


def _terms(document: dict[str, Any] | None) -> Terms | None:
    return None if document is None else Terms(np.array(document["depth"]), np.array(document["group"], dtype=np.int64))


def _amount_document(amount: Amount | None) -> dict[str, Any] | None:
    if amount is None:
        return None
    return {
        "schema": amount.schema.to_json(),
        "coefficients": amount.coefficients.tolist(),
        "averages": amount.averages.tolist(),
        "share": amount.share.tolist(),
    }


def _amount(document: dict[str, Any] | None) -> Amount | None:
    if document is None:
        return None
    arrays = {name: np.array(document[name]) for name in ("coefficients", "averages", "share")}
    return Amount(schema=Schema.from_json(document["schema"]), **arrays)


def export(stages: Sequence[Stage], folder: Path) -> None:
    """Write each stage as a TensorFlow SavedModel, `(n, width)` encoded users to the parts of the network, for serving."""
    for position, stage in enumerate(stages):
        with _quiet():
            stage.network.export(folder / f"stage{position}", verbose=False)
