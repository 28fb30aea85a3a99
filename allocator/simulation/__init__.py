"""Markets with known truth, replay of plans, design and measurement of campaigns."""

from allocator.simulation.market import Market, Outcomes, Trial, Truth
from allocator.simulation.settings import Settings

__all__ = ["Market", "Outcomes", "Settings", "Trial", "Truth"]
