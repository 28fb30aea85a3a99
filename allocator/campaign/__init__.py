"""campaign.toml: coupon terms and limits, checked key by key.

Messages name the file, the key with its place (`coupon[2].amount`: the second [[coupon]], counted from 1 as rows are),
what is wrong, and the nearest known key or coupon. Every fault of a file is told at once.
"""

from allocator.campaign.reading import load_campaign, parse_campaign
from allocator.campaign.terms import Campaign, Coupon, Header, LimitTerms

__all__ = ["Campaign", "Coupon", "Header", "LimitTerms", "load_campaign", "parse_campaign"]
