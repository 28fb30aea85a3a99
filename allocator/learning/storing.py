"""Reads a model from disk, which `allocator.learning.writing` wrote. Loading runs no code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from allocator.learning.model import Model
from allocator.learning.parts import Baskets
from allocator.learning.redeeming import Discounts
from allocator.learning.spending import Reach, Spending
from allocator.learning.wanting import Kept
from allocator.learning.writing import LINES
from allocator.tables.model_folder import AGAIN, CARD, DOCUMENT, NETWORK, RELEVANCE, read_json, read_model_folder
from uplift import FittedNetwork, ModelFileError, Schema
from uplift.amounts import Amount


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


def _read_logistic(document: Mapping[str, Any]) -> Logistic:
    return Logistic(**_numbers(document))


def _read_discounts(document: Mapping[str, Any]) -> Discounts:
    return Discounts(*(np.array([np.nan if v is None else v for v in document[n]], dtype=np.float64) for n in LINES))


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


def _read_baskets(document: Mapping[str, Any]) -> Baskets:
    entry, amount = document["amount"], None
    if entry is not None:
        arrays = {n: np.array(entry[n]) for n in ("coefficients", "averages", "share")}
        errors = None if entry["errors"] is None else np.array(entry["errors"])
        amount = Amount(schema=Schema.from_json(entry["schema"]), errors=errors, **arrays)
    return Baskets(amount, float(document["mean"]), float(document["spread"]))
