"""The sentences that the terminal and the report share."""

from __future__ import annotations

from collections.abc import Sequence

from allocator.errors import counted
from allocator.reporting.summary import HedgeLine, StrategyLine, Summary
from allocator.shares import percent, percent_of_digits

MONEY = ("cost", "value", "liability")
FEW = 30  # redemptions
LIKELY = 0.2  # chance of an overrun from which the way to a surer plan is told


def money(number: float, currency: str) -> str:
    """Return `1,234.50 EUR`."""
    return f"{number:,.2f} {currency}"


def quantity(number: float | None, measure: str) -> str:
    """Return a limit's number as its measure is written: counts whole, the rest with two decimals; empty for none."""
    if number is None:
        return ""
    return f"{number:,.0f}" if measure == "count" and float(number).is_integer() else f"{number:,.2f}"


def headline(summary: Summary) -> str:
    """Say what the plan does and earns."""
    hedge, earned = summary.hedge, f"to earn {money(summary.objective, summary.currency)}"
    if hedge is not None:
        earned = (
            f"to earn {money(hedge.mean, summary.currency)} on average over {hedge.draws} draws of the offers' values, and "
            f"{money(hedge.tail, summary.currency)} in {bad_draws(hedge)}"
        )
    return (
        f"{summary.issued:,} of {summary.offers:,} candidate offers {'is' if summary.issued == 1 else 'are'} issued among "
        f"{counted(summary.users, 'user', 'users')}: expected "
        f"to spend {money(summary.spend, summary.currency)} of {money(summary.budget, summary.currency)} "
        f"and {earned}."
    )


def bad_draws(hedge: HedgeLine) -> str:
    """Name the draws that a careful plan is made for: `the worst 2 of 20 draws`."""
    if hedge.share >= 1.0:
        return "the mean of the draws"
    number = hedge.share * hedge.draws
    if number <= 1.0:
        return f"the worst of {hedge.draws} draws"
    return f"the worst {number:.3g} of {hedge.draws} draws"


def proof(summary: Summary) -> str:
    """Say how good the plan is and why one can believe it."""
    bound = money(summary.bound, summary.currency)
    if summary.hedge is not None:
        return (
            f"In {bad_draws(summary.hedge)} no plan that keeps the limits can earn more than {bound}, {above(summary)}. The "
            "bound follows from weights of the draws and the limits' prices: anyone can recompute it in one pass over the "
            f"offers.{' An independent check of the plan and of this bound agrees.' if summary.verified else ''}"
        )
    checked = " An independent check of the plan and of this bound agrees." if summary.verified else ""
    if summary.status == "optimal":
        claim = f"Proven optimal: no plan that keeps the limits can earn more than {bound}, {above(summary)}."
        return f"{claim} {_ground(summary)}{checked}"
    longer = "" if any(" at " in use.measure for use in summary.limits) else " A longer --time-limit may close the gap."
    return (
        f"Not yet proven optimal: the plan keeps every limit, and another could earn at most "
        f"{money(summary.gap, summary.currency)} ({summary.relative_gap:.2g} of it) more, {bound} in all."
        f"{longer}{checked}"
    )


def warnings(summary: Summary) -> list[str]:
    """Say what a reader must know before believing the numbers."""
    if summary.findings.model and summary.findings.model.get("observational"):
        return [
            "The effects are observational: nobody drew lots for the coupons that the model learned from, so that what the plan "
            "earns is a guess until a control group shows it (--holdout)."
        ]
    return []


def spend(summary: Summary) -> str:
    """Say what the plan may really spend."""
    risk, currency = summary.risk, summary.currency
    if not summary.issued:
        return "The plan issues nothing, so that it spends nothing."
    if risk is None:
        return (
            "What the plan may spend beyond what is expected is not known: the offers have neither redeem_probability nor "
            "liability."
        )
    words = (
        f"Spend: {money(risk.expected, currency)} expected, at most {money(risk.percentile, currency)} in "
        f"{percent(risk.confidence, None)} of campaigns, {money(risk.worst, currency)} if everyone redeems. "
        f"The budget is exceeded with a probability of {percent(risk.overrun)} (redemption_shock {risk.shock:g})."
    )
    if risk.overrun > LIKELY and summary.hedge is None:
        words += " To keep it more surely, plan with --confidence 0.95."
    if risk.redemptions < FEW:
        words += f" With {risk.redemptions:,.0f} redemptions expected, the percentile is rough."
    return words


def above(summary: Summary) -> str:
    """Say how far the bound lies above the plan."""
    if summary.gap < 0.01:
        return "less than a cent above this one" if summary.gap > 0 else "which is what this one earns"
    return f"{money(summary.gap, summary.currency)} above this one ({summary.relative_gap:.1g} of it)"


def _ground(summary: Summary) -> str:
    if summary.proof == "branch_and_bound":
        return (
            f"The limits' prices alone prove {money(summary.price_bound, summary.currency)}; "
            "the rest was proven by branch and bound."
        )
    return "The bound follows from the limits' prices: anyone can recompute it in one pass over the offers."


def some(names: Sequence[str], most: int = 3) -> str:
    """Return the first of some names in a row, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def by_rank(strategies: Sequence[StrategyLine]) -> list[StrategyLine]:
    """Return strategies that keep every limit first, the best first; then those that do not."""
    return sorted(strategies, key=lambda row: (not row.meets_limits, -row.objective))


def breaking(strategies: Sequence[StrategyLine]) -> str:
    """Say which strategies keep not every limit, so that what they earn is no measure; empty where all do."""
    broken = [row for row in by_rank(strategies) if not row.meets_limits]
    if not broken:
        return ""
    each = [f"{row.name} ({some(row.unmet)})" for row in broken]
    names = " and ".join(part for part in (", ".join(each[:-1]), each[-1]) if part)
    one = len(broken) == 1
    return f"{names} {'breaks a limit' if one else 'break limits'}: what {'it earns' if one else 'they earn'} could not be issued."


def loosen(summary: Summary) -> str:
    """Say which limit to loosen first and what that earns."""
    step = summary.loosen_first
    if step is None:
        return "No limit holds the plan back: loosening one would earn nothing."
    size = quantity(step.step, step.measure)
    if step.measure == "count":
        unit = "offer" if step.step == 1 else "offers"
    else:
        unit = summary.currency if step.measure in MONEY else f"of {step.measure}"
    more = "more" if step.side == "at_most" else "less required"
    return (
        f"Loosen `{step.name}` first: {size} {unit} {more} ({percent_of_digits(step.step / abs(step.number), 2)}) "
        f"would earn about {money(step.earns, summary.currency)}."
    )


def holdout(summary: Summary) -> str:
    """Say who is held out and what that costs; empty where nobody is."""
    line = summary.holdout
    if line is None:
        return ""
    costs = money(line.costs, summary.currency)
    if line.costs_at_most - line.costs_at_least >= 0.05:
        ends = (line.costs_at_least, line.costs_at_most)
        costs = " to ".join(f"{end:,.2f}" for end in ends) + f" {summary.currency} (not both are proven optimal)"
    return (
        f"Held out at random: {line.users:,} users ({percent(line.share)}), {line.controls:,} of whom would have got a coupon: "
        f"the control group that `allocate measure` compares with. With nobody held out a plan could earn {costs} more."
    )


def no_plan(summary: Summary) -> list[str]:
    """Say why there is no plan: which limits conflict, what repairs them, and why one can believe it."""
    if summary.status != "infeasible":
        return ["Stopped before any plan was found. Give it more time with --time-limit."]
    if summary.diagnosis is None:
        return ["Infeasible: no plan keeps every limit."]
    lines = [f"Infeasible: {summary.diagnosis.message}"]
    lines += [f"Another conflict: {other.message}" for other in summary.diagnosis.further]
    return [*lines, *_why_no_plan(summary)]


def _why_no_plan(summary: Summary) -> list[str]:
    if summary.proof == "farkas":
        checked = " An independent check agrees." if summary.verified else ""
        return [
            "Proven by weights on these limits, by which any choice of offers breaks one of them: anyone can recompute "
            f"it in one pass over the offers.{checked}"
        ]
    return ["Proven by branch and bound."] if summary.proof == "branch_and_bound" else []


def interval(summary: Summary) -> str:
    """Say within what the plan's value lies, or why that is not known."""
    found, unit = summary.findings.objective_interval, summary.currency
    if found is None:
        return f"no interval: {summary.findings.interval_note}"
    span = f"95 % interval {found.low:,.0f} to {found.high:,.0f} {unit}"
    if found.shared_low is None or found.shared_high is None:
        return f"{span}, from {found.draws} draws of the offers' values"
    return (
        f"{span} if the offers' errors are independent, {found.shared_low:,.0f} to {found.shared_high:,.0f} {unit} if they "
        "all err the same way"
    )
