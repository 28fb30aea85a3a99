"""A conflict in a planner's words."""

from __future__ import annotations

from collections.abc import Sequence

from allocator.diagnosis.sides import Side
from allocator.problem import Problem
from allocator.result import Conflict


def explain(
    sides: Sequence[Side], problem: Problem, conflicts: Sequence[Conflict], *, minimal: bool, complete: bool
) -> str:
    """Say which limits cannot hold together, what each needs of the others, and what repairs them."""
    names = [_label(problem, side) for side in sides]
    # What is asked for comes first, what stands against it after.
    order = sorted(range(len(sides)), key=lambda position: sides[position].sign)
    names, conflicts = [names[position] for position in order], [conflicts[position] for position in order]
    if len(conflicts) == 1:
        text = _alone(names[0], conflicts[0])
    elif len(conflicts) == 2 and conflicts[1].needed is not None:
        text = _pair(names, conflicts)
    else:
        listed = [_equation(name, conflict) for name, conflict in zip(names, conflicts, strict=True)]
        text = f"{', '.join(listed[:-1])} and {listed[-1]} cannot hold together."
    text = f"{text} {_remedies(_short(names), conflicts, complete=complete)}"
    return text.strip() if minimal else f"{text.strip()} Fewer of these limits may conflict already."


def number(amount: float) -> str:
    """Return `12,000` for a whole number, else two decimals, or up to four where two do not tell it."""
    if amount.is_integer():
        return f"{amount:,.0f}"
    if round(amount, 2) == amount:
        return f"{amount:,.2f}"
    return f"{amount:,.4f}".rstrip("0") if abs(amount) >= 0.001 else f"{amount:g}"


def _label(problem: Problem, side: Side) -> str:
    limit = problem.limits[side.limit]
    two_sided = limit.at_least is not None and limit.at_most is not None
    return f"{side.word} of {limit.name}" if two_sided else limit.name


def _short(names: Sequence[str]) -> list[str]:
    """Return the names without what stands in brackets, where that leaves them apart."""
    stems = [name.partition("[")[0] for name in names]
    return [stem if stem and stems.count(stem) == 1 else name for name, stem in zip(names, stems, strict=True)]


def _equation(name: str, conflict: Conflict) -> str:
    return f"{name} = {number(conflict.number)}"


def _alone(name: str, conflict: Conflict) -> str:
    if conflict.needed is None:
        return f"No plan keeps {_equation(name, conflict)}."
    if conflict.side == "at_most":
        return f"{_equation(name, conflict)}, but whatever is issued needs at least {number(conflict.needed)} of it."
    if conflict.measure == "count":
        return (
            f"{_equation(name, conflict)}, but only {number(conflict.needed)} of the offers that it covers can be "
            "issued under the rules of each user."
        )
    return f"{_equation(name, conflict)}, but no choice of offers reaches more than {number(conflict.needed)}."


def _pair(names: Sequence[str], conflicts: Sequence[Conflict]) -> str:
    asked, against = conflicts
    assert against.needed is not None
    verb = "needs at least {} of" if against.side == "at_most" else "leaves at most {} for"
    return (
        f"{_equation(names[0], asked)} {verb.format(number(against.needed))} {names[1]}; "
        f"{names[1]} is {number(against.number)}."
    )


def _remedies(names: Sequence[str], conflicts: Sequence[Conflict], *, complete: bool) -> str:
    """Say what repairs the conflict; what stands against comes first, as a budget is what a planner thinks of first."""
    named = list(zip(names, conflicts, strict=True))[::-1]
    enough = [_change(name, item, item.repair) for name, item in named if item.repair is not None]
    partly = [
        _change(name, item, item.needed) for name, item in named if item.repair is None and item.needed is not None
    ]
    sentences = []
    if enough:
        sentences.append(f"{_choice(enough)}.")
    if partly and not enough:
        doubt = (
            "other limits conflict even then" if complete else "there was no time to see whether all limits then hold"
        )
        sentences.append(f"{_choice(partly)}; {doubt}.")
    elif partly and complete:
        sentences.append(f"It is not enough to {' or '.join(partly)}: other limits conflict even then.")
    elif partly:
        sentences.append(f"There was no time to see whether it is enough to {' or '.join(partly)}.")
    return " ".join(sentences)


def _choice(changes: Sequence[str]) -> str:
    if len(changes) > 2:
        return f"Any one of these repairs it: {'; '.join(changes)}"
    text = " or ".join(changes)
    return text[0].upper() + text[1:]


def _change(name: str, conflict: Conflict, target: float | None) -> str:
    assert target is not None
    text = f"{'raise' if conflict.side == 'at_most' else 'lower'} {name} to {number(target)}"
    if conflict.needed is not None and target != conflict.needed:
        text += f" ({number(conflict.needed)} for these limits, the rest for others)"
    return f"{text} (a change smaller by up to {number(conflict.within)} may do)" if conflict.within else text
