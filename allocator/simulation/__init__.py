"""Markets with known truth, replay of plans, design and measurement of campaigns."""

from allocator.simulation.design import design
from allocator.simulation.measuring import measure

__all__ = ["design", "measure"]
