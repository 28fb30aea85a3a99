"""What is to be solved: offers, limits and rules for each user, checked once at the door."""

from allocator.problem.offers import Offers
from allocator.problem.problem import Problem

__all__ = ["Offers", "Problem"]
