"""A made-up market, and the built-in campaign that is planned where no offers are given."""

from allocator.demo.market import CONTACT_COST, MARGIN, REGIONS, SEGMENTS, Market, market

__all__ = ["CONTACT_COST", "MARGIN", "REGIONS", "SEGMENTS", "Market", "market"]
