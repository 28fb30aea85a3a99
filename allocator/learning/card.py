"""The model card: how good a model is on users that it did not see, and what it cannot know."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from allocator.shares import percent, percent_of_digits

Z95 = 1.959963984540054
# Chances beyond which nearly everybody alike is on one side (Crump et al. 2009, 10.1093/biomet/asn055).
LEAST, MOST = 0.05, 0.95


@dataclass(frozen=True)
class Mark:
    """One candidate's marks on users it did not see, purchases a user (see `uplift.Score`); `None`: not known."""

    name: str
    value: float
    value_error: float
    area: float
    area_error: float
    behind: float
    behind_error: float
    qini: float | None
    qini_error: float | None


@dataclass(frozen=True)
class Bin:
    """Pairs of user and coupon with about the same predicted uplift (see `uplift.calibration.Bin`)."""

    pairs: int
    predicted: float
    observed: float
    standard_error: float


@dataclass(frozen=True)
class Kept:
    """What a plan for half of the users was predicted to bring, and what the trial shows: sums over those users.

    Attributes
    ----------
    unit
        `purchases` or `sales`.
    raw, calibrated
        Predicted before and after calibration, by models that did not see these users.
    observed, standard_error
        Doubly robust.
    """

    unit: str
    users: int
    raw: float
    calibrated: float
    observed: float
    standard_error: float

    @property
    def kept(self) -> bool:
        """Whether the calibrated prediction is within the 95 % interval."""
        return abs(self.calibrated - self.observed) <= Z95 * self.standard_error


@dataclass(frozen=True)
class Arm:
    """What the trial itself says of an arm."""

    coupon: str
    users: int
    purchases: float
    spend: float | None


@dataclass(frozen=True)
class Relevant:
    """How good relevance is: P(buys from a scope in a window), foretold for the last window and held against it.

    Attributes
    ----------
    scopes
        That it was fitted to: those of the campaign's coupons, and categories.
    window
        Days.
    pairs
        Of user and scope in the last window.
    log_loss, log_loss_rate
        Of the foretold chance, and of the scope's rate, for everybody the same.
    bins
        Pairs with about the same chance: `predicted` and `observed` shares.
    """

    scopes: tuple[str, ...]
    window: float
    pairs: int
    log_loss: float
    log_loss_rate: float
    bins: tuple[Bin, ...]

    @classmethod
    def of_document(cls, document: dict[str, Any]) -> Relevant:
        """Read what `asdict` made."""
        fields = {**document, "scopes": tuple(document["scopes"])}
        fields["bins"] = tuple(Bin(**entry) for entry in document["bins"])
        return cls(**fields)

    def lines(self) -> list[str]:
        """Return what the card prints."""
        gain = 1.0 - self.log_loss / self.log_loss_rate if self.log_loss_rate else 0.0
        head = (
            f"Relevance to {len(self.scopes)} scopes, foretold for the last {self.window:g} days without having seen them: "
            f"log-loss {self.log_loss:.4f}, {percent(gain, 0)} better than the scope's rate for everybody ({self.log_loss_rate:.4f})."
        )
        rows = [
            f"{b.pairs:>9,}{percent(b.predicted):>11}{percent(b.observed):>11}{percent(Z95 * b.standard_error):>13}"
            for b in self.bins
        ]
        return [head, "    pairs   foretold     bought   give or take", *rows]


@dataclass(frozen=True)
class Overlap:
    """How many users could as well have been on the other side: without that, nobody alike is there to compare with.

    Attributes
    ----------
    coupon
        Compared with no coupon.
    below, above
        Share of the users whose estimated chance of the coupon, rather than none, is below `LEAST` and above `MOST`.
    """

    coupon: str
    below: float
    above: float

    @property
    def outside(self) -> float:
        """Share of the users outside either end."""
        return self.below + self.above


@dataclass(frozen=True)
class Card:
    """A model card.

    Attributes
    ----------
    chosen, reason
        The candidate that was kept, and why.
    arms
        Averages of the trial, control first.
    marks
        Of all candidates, best first.
    bins
        Calibration of the chosen one, by calibrated predictions.
    factors
        Level, spread and sales: raw, its error, and as used.
    kept
        Predictions held against the trial.
    limits
        What the model cannot know, a sentence each.
    notes
        What was taken for what.
    overlap
        Where nobody drew lots: by coupon, which users have nobody alike on the other side.
    relevance
        How good relevance to scopes is on a window that it did not see; `None` where none was fitted.
    """

    chosen: str
    reason: str
    observational: bool
    users: int
    features: tuple[str, ...]
    arms: tuple[Arm, ...]
    marks: tuple[Mark, ...]
    bins: tuple[Bin, ...]
    factors: dict[str, tuple[float, float, float]]
    kept: tuple[Kept, ...]
    limits: tuple[str, ...]
    notes: tuple[str, ...]
    overlap: tuple[Overlap, ...] = ()
    relevance: Relevant | None = None

    @property
    def source(self) -> str:
        """What the effects were read off: there is a trial only where somebody drew lots."""
        return "the history" if self.observational else "the trial"

    def document(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)

    @classmethod
    def of_document(cls, document: dict[str, Any]) -> Card:
        """Read what `document` made; raises `KeyError` or `TypeError` on anything else."""
        fields = dict(document)
        for name, kind in (("arms", Arm), ("marks", Mark), ("bins", Bin), ("kept", Kept)):
            fields[name] = tuple(kind(**entry) for entry in fields[name])
        fields["overlap"] = tuple(Overlap(**entry) for entry in fields.get("overlap", ()))
        known = fields.get("relevance")
        fields["relevance"] = None if known is None else Relevant.of_document(known)
        for name in ("features", "limits", "notes"):
            fields[name] = tuple(fields[name])
        fields["factors"] = {name: tuple(values) for name, values in fields["factors"].items()}
        return cls(**fields)

    def findings(self) -> dict[str, Any]:
        """Return what a plan's report shows of the model, as `reporting.findings.Findings.model` has it."""
        metrics = []
        for m in self.marks:
            if m.name == self.chosen:
                metrics = [
                    _metric(
                        "extra purchases per 1,000 users, a coupon for each",
                        1e3 * m.value,
                        1e3 * m.value_error,
                        "if every user got the coupon that the model thinks best, or none; on users it did not see",
                    ),
                    _metric(
                        "the same, averaged over shares of users",
                        1e3 * m.area,
                        1e3 * m.area_error,
                        "over all shares of users that could be given a coupon, best first",
                    ),
                ]
                if m.qini is not None:
                    metrics.append(_metric("Qini", m.qini, m.qini_error, "0: no better than users drawn by lot"))
        for name, (raw, error, used) in self.factors.items():
            metrics.append(
                _metric(
                    f"factor on the {name}", raw, error, f"1: {self.source} kept what was predicted; used: {used:.2f}"
                )
            )
        kept = [
            f"For the best half of its users {k.calibrated:,.1f} {k.unit} were predicted; {self.source} shows "
            f"{_interval(k.observed, k.standard_error, 1)}."
            for k in self.kept
        ]
        kind = "observational history" if self.observational else "a randomised trial"
        return {
            "kind": f"{self.chosen}, learned from {kind} of {self.users:,} users",
            "observational": self.observational,
            "metrics": metrics,
            "calibration": [{"predicted": b.predicted, "observed": b.observed, "users": b.pairs} for b in self.bins],
            "notes": [f"Kept among {len(self.marks)} candidates: {self.reason}.", *kept, *self.limits],
        }

    def text(self) -> str:
        """Return the card for people."""
        parts = (self._head(), self._overlap(), self._marks(), self._calibration(), self._promises(), self._relevance())
        return "\n".join([line for part in (*parts, self._limits()) for line in part])

    def _head(self) -> list[str]:
        kind = "history (OBSERVATIONAL, nobody drew lots for the coupons)" if self.observational else "a trial"
        lines = [f"Model of {kind}: {self.users:,} users, {len(self.features)} features.", ""]
        lines += ["arm                        users  purchases  spend a user"]
        for arm in self.arms:
            spend = "" if arm.spend is None else f"{arm.spend:>12.4f}"
            lines.append(
                f"{arm.coupon:<22}{arm.users:>10,}{percent_of_digits(arm.purchases, 3, zeros=True):>10}  {spend}".rstrip()
            )
        return lines

    def _overlap(self) -> list[str]:
        if not self.overlap:
            return []
        lines = [
            "",
            f"Users whose chance of the coupon, rather than none, is below {percent(LEAST, None)} or above {percent(MOST, None)} (estimated)",
        ]
        lines.append(f"{'coupon':<22}{'below':>10}{'above':>10}")
        lines += [f"{item.coupon:<22}{percent(item.below):>10}{percent(item.above):>10}" for item in self.overlap]
        return lines

    def _relevance(self) -> list[str]:
        return [] if self.relevance is None else ["", *self.relevance.lines()]

    def _marks(self) -> list[str]:
        lines = ["", "Candidates on users they did not see; extra purchases per 1,000 users (95 % interval)"]
        lines.append("model                        coupon for each     averaged over shares    Qini")
        for m in self.marks:
            value = _interval(1e3 * m.value, 1e3 * m.value_error)
            area = _interval(1e3 * m.area, 1e3 * m.area_error)
            qini = "     -" if m.qini is None else f"{m.qini:+.3f}"
            qini += "" if m.qini_error is None else f" +- {Z95 * m.qini_error:.3f}"
            lines.append(f"{m.name:<26}{value:>22}{area:>24}  {qini}")
        return [*lines, f"Kept: {self.chosen}; {self.reason}."]

    def _calibration(self) -> list[str]:
        lines = ["", "Calibration on users not seen: extra purchases per 1,000 users"]
        lines.append("    pairs  predicted  observed (95 % interval)")
        lines += [
            f"{b.pairs:>9,}{1e3 * b.predicted:>11.2f}  {_interval(1e3 * b.observed, 1e3 * b.standard_error)}"
            for b in self.bins
        ]
        for name, (raw, error, used) in self.factors.items():
            lines.append(f"{name}: {self.source} alone says x {raw:.2f} +- {Z95 * error:.2f}; used: x {used:.2f}")
        return lines

    def _promises(self) -> list[str]:
        lines = []
        for k in self.kept:
            inside = "inside" if k.kept else "OUTSIDE"
            digits = 0 if k.standard_error >= 100 else 1
            lines.append(
                f"For the best half of the users: {k.raw:,.{digits}f} {k.unit} predicted raw, {k.calibrated:,.{digits}f} "
                f"calibrated; {self.source} shows {_interval(k.observed, k.standard_error, digits)}: {inside}."
            )
        return ["", *lines] if lines else []

    def _limits(self) -> list[str]:
        return ["", "What it cannot know:", *(f"- {line}" for line in self.limits)]


def _metric(name: str, value: float, error: float | None, meaning: str) -> dict[str, Any]:
    reach = None if error is None else Z95 * error
    ends = {} if reach is None else {"low": value - reach, "high": value + reach}
    return {"name": name, "value": value, **ends, "meaning": meaning}


def _interval(value: float, error: float, digits: int = 2) -> str:
    return f"{value:,.{digits}f} ({value - Z95 * error:,.{digits}f} to {value + Z95 * error:,.{digits}f})"
