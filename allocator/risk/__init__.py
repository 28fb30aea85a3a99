"""What a plan may spend: its distribution, and what a budget that holds with a probability means."""

from allocator.risk.distribution import SpendDistribution, SpendRisk, spend_risk
from allocator.risk.parts import SpendParts, spend_parts

__all__ = ["SpendDistribution", "SpendParts", "SpendRisk", "spend_parts", "spend_risk"]
