"""A model on disk: Keras files, and plain JSON for everything else, each with its hash. Loading runs no code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

import cf
from allocator.campaign import Coupon
from allocator.errors import DataError
from allocator.history import ProfileSchema
from allocator.learning.calibrating import Calibration, Factor
from allocator.learning.candidates import Network
from allocator.learning.card import Card
from allocator.learning.logistic import Logistic
from allocator.learning.model import Baskets, Model
from allocator.learning.redeeming import Discounts
from allocator.learning.spending import Reach, Spending
from allocator.learning.wanting import Kept
from allocator.tables.files import hash_inputs
from allocator.tables.model_folder import (
    AGAIN,
    CARD,
    DOCUMENT,
    FORMAT,
    NETWORK,
    RELEVANCE,
    VERSION,
    read_json,
    read_model_folder,
    record,
    seen_from,
)
from allocator.tables.output import MANIFEST, write_folder
from uplift import FittedNetwork, ModelFileError, Schema
from uplift.amounts import Amount

_LINES = ("mean", "slope", "center", "low", "high")  # of `Discounts`


def manifest_of(sources: Sequence[str | Path], history: Mapping[str, str | Path | None], seed: int) -> dict[str, Any]:
    """Return what a model was made from and with; `history`: past purchases by part, which scoring asks for again."""
    versions = {}
    for name in ("coupon-allocator", "numpy", "scikit-learn", "tensorflow", "keras"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    kept = {part: record(path) for part, path in history.items() if path is not None}
    hashed = {str(place) for place in history.values() if place is not None}
    rest = hash_inputs([source for source in sources if str(source) not in hashed])
    return {"inputs": rest, "history": kept, "seed": seed, "versions": versions}


def save(model: Model, folder: Path, *, force: bool) -> None:
    """Write a folder: `model.json`, `card.json`, `purchase/` where the network was kept, `relevance.cf`, `manifest.json` with hashes."""
    hashes: dict[str, str] = {}
    document = json.dumps(_document(model), indent=1)
    card = json.dumps(model.card.document(), indent=1)
    hashes[DOCUMENT], hashes[CARD] = (hashlib.sha256(text.encode()).hexdigest() for text in (document, card))

    def network(path: Path) -> None:
        assert isinstance(model.purchase, Network)
        model.purchase.fitted.save(path)
        hashes.update(_hashes(path, path.name))

    def manifest(path: Path) -> None:
        head = {"format": FORMAT, "version": VERSION, "observational": model.observational}
        history = {part: seen_from(entry, folder) for part, entry in model.manifest.get("history", {}).items()}
        whole = {**head, **model.manifest, "history": history, "files": hashes}
        path.write_text(json.dumps(whole, indent=1), encoding="utf-8")

    def relevance(path: Path) -> None:
        assert model.relevance is not None
        cf.save(model.relevance.boosters, path)
        hashes[RELEVANCE] = hashlib.sha256(path.read_bytes()).hexdigest()

    contents: dict[str, Any] = {DOCUMENT: document, CARD: card}
    if model.relevance is not None:
        contents[RELEVANCE] = relevance
    if isinstance(model.purchase, Network):
        contents[NETWORK] = network
    write_folder(folder, {**contents, MANIFEST: manifest}, force=force)


def load_model(folder: str | Path) -> Model:
    """Read a model folder.

    Raises
    ------
    UsageError
        Where there is no such folder, or it holds no model.
    DataError
        Where it is of another version, damaged, or not whole.
    """
    found = read_model_folder(folder)
    place = found.path
    try:
        return _model(place, found.document, read_json(place / CARD), found.manifest)
    except (KeyError, TypeError, ValueError, IndexError, ValidationError) as error:
        raise DataError(f"{place / DOCUMENT} is damaged ({error!r}); {AGAIN}") from error
    except (ModelFileError, cf.CfError) as error:
        raise DataError(f"{error}; {AGAIN}") from error


def _hashes(folder: Path, prefix: str) -> dict[str, str]:
    return {
        f"{prefix}/{path.relative_to(folder).as_posix()}": hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _terms(coupon: Coupon) -> dict[str, Any]:
    return {name: value for name, value in dict(coupon).items() if value is not None}


def _document(model: Model) -> dict[str, Any]:
    purchase = None if isinstance(model.purchase, Network) else _logistic(model.purchase)
    return {
        "coupons": list(model.coupons),
        "terms": None if model.terms is None else [_terms(coupon) for coupon in model.terms],
        "profile": None if model.profile is None else model.profile.document(),
        "observational": model.observational,
        "relevance": None if model.relevance is None else list(model.relevance.scopes),
        "purchase": purchase,
        "calibration": asdict(model.calibration),
        "baskets": None if model.baskets is None else _baskets(model.baskets),
        "spending": None if model.spending is None else _spending(model.spending),
        "redemption": None if model.redemption is None else _logistic(model.redemption),
        "discounts": None if model.discounts is None else _discounts(model.discounts),
    }


def _model(place: Path, document: Mapping[str, Any], card: dict[str, Any], manifest: Mapping[str, Any]) -> Model:
    terms, baskets, redemption = document["terms"], document["baskets"], document["redemption"]
    plain = document["purchase"]
    calibration = dict(document["calibration"])
    averages, of_sales = (tuple(map(float, calibration.pop(name))) for name in ("averages", "sales_ratios"))
    spending, discounts = document["spending"], document["discounts"]
    return Model(
        coupons=tuple(document["coupons"]),
        terms=None if terms is None else tuple(Coupon.model_validate(entry) for entry in terms),
        purchase=Network(FittedNetwork.load(place / NETWORK)) if plain is None else _read_logistic(plain),
        calibration=Calibration(
            averages, sales_ratios=of_sales, **{name: Factor(**entry) for name, entry in calibration.items()}
        ),
        baskets=None if baskets is None else _read_baskets(baskets),
        spending=None if spending is None else _read_spending(spending),
        redemption=None if redemption is None else _read_logistic(redemption),
        discounts=None if discounts is None else _read_discounts(discounts),
        profile=None if document["profile"] is None else ProfileSchema.of_document(document["profile"]),
        observational=bool(document["observational"]),
        card=Card.of_document(card),
        relevance=_read_relevance(place, document["relevance"]),
        home=place,
        manifest={name: value for name, value in manifest.items() if name not in ("format", "version", "files")},
    )


def _read_relevance(place: Path, scopes: Sequence[str] | None) -> Kept | None:
    return None if scopes is None else Kept(cf.load(place / RELEVANCE, cf.Boosters), tuple(map(str, scopes)))


def _logistic(model: Logistic) -> dict[str, Any]:
    return {
        "schema": model.schema.to_json(),
        "intercepts": model.intercepts.tolist(),
        "slopes": model.slopes.tolist(),
        "centers": model.centers.tolist(),
    }


def _read_logistic(document: Mapping[str, Any]) -> Logistic:
    return Logistic(**_numbers(document))


def _discounts(discounts: Discounts) -> dict[str, list[float | None]]:
    return {
        name: [None if np.isnan(value) else value for value in getattr(discounts, name).tolist()] for name in _LINES
    }


def _read_discounts(document: Mapping[str, Any]) -> Discounts:
    return Discounts(*(np.array([np.nan if v is None else v for v in document[n]], dtype=np.float64) for n in _LINES))


def _spending(model: Spending) -> dict[str, Any]:
    reach = model.reach
    document: dict[str, Any] = {**_logistic(model), "message": model.message.tolist(), "reach": None}
    if reach is not None:
        document["reach"] = {
            "redemption": _logistic(reach.redemption),
            "discounts": reach.discounts.tolist(),
            "intercept": reach.intercept,
            "slope": reach.slope.tolist(),
            "usual": reach.usual,
        }
    return document


def _read_spending(document: Mapping[str, Any]) -> Spending:
    entry, reach = document["reach"], None
    if entry is not None:
        reach = Reach(
            _read_logistic(entry["redemption"]),
            np.array(entry["discounts"], dtype=np.float64),
            float(entry["intercept"]),
            np.array(entry["slope"], dtype=np.float64),
            float(entry["usual"]),
        )
    return Spending(**_numbers(document), reach=reach, message=np.array(document["message"], dtype=np.float64))


def _numbers(document: Mapping[str, Any]) -> dict[str, Any]:
    arrays = {name: np.array(document[name], dtype=np.float64) for name in ("intercepts", "slopes", "centers")}
    return {"schema": Schema.from_json(document["schema"]), **arrays}


def _baskets(baskets: Baskets) -> dict[str, Any]:
    document: dict[str, Any] = {"mean": baskets.mean, "spread": baskets.spread, "amount": None}
    if baskets.amount is not None:
        amount = baskets.amount
        arrays = {name: getattr(amount, name) for name in ("coefficients", "averages", "share", "errors")}
        document["amount"] = {
            "schema": amount.schema.to_json(),
            **{name: None if array is None else array.tolist() for name, array in arrays.items()},
        }
    return document


def _read_baskets(document: Mapping[str, Any]) -> Baskets:
    entry, amount = document["amount"], None
    if entry is not None:
        arrays = {n: np.array(entry[n]) for n in ("coefficients", "averages", "share")}
        errors = None if entry["errors"] is None else np.array(entry["errors"])
        amount = Amount(schema=Schema.from_json(entry["schema"]), errors=errors, **arrays)
    return Baskets(amount, float(document["mean"]), float(document["spread"]))
