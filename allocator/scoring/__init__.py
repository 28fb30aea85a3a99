"""Effects x relevance x coupon terms -> offers."""
