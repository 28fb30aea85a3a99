"""Effects x relevance x coupon terms -> offers. Arrays in, arrays out; `allocator.scoring.revenue` has the formula."""

from allocator.scoring.discounts import Discount
from allocator.scoring.revenue import DEFAULT_SPREAD, Assumptions, Expected, Valued, check_basket, value_offers

__all__ = ["DEFAULT_SPREAD", "Assumptions", "Discount", "Expected", "Valued", "check_basket", "value_offers"]
