"""Why a plan gave whom what, and what changed from one plan to another."""

from allocator.explaining.choices import Charge, Why
from allocator.explaining.comparing import Comparison, compare_plans
from allocator.explaining.coupons import CouponExplanation, Segment, SegmentTree, explain_coupon
from allocator.explaining.lines import OfferLine
from allocator.explaining.users import UserExplanation, explain_user

__all__ = [
    "Charge",
    "Comparison",
    "CouponExplanation",
    "OfferLine",
    "Segment",
    "SegmentTree",
    "UserExplanation",
    "Why",
    "compare_plans",
    "explain_coupon",
    "explain_user",
]
