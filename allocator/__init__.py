"""Who gets which coupon, what will it earn, and how do we know that no other plan earns more?"""

from allocator.careful import hedge, trade_off
from allocator.chance import Chance
from allocator.errors import VerificationError
from allocator.hedging.robust import Care, Hedged
from allocator.limit import Limit
from allocator.plan import Plan
from allocator.problem import Problem
from allocator.result import Prices, Proof, Result, Status
from allocator.solving import solve
from allocator.tracing import frontier
from allocator.verification import verify

__all__ = [
    "Care",
    "Chance",
    "Hedged",
    "Limit",
    "Plan",
    "Prices",
    "Problem",
    "Proof",
    "Result",
    "Status",
    "VerificationError",
    "frontier",
    "hedge",
    "solve",
    "trade_off",
    "verify",
]
