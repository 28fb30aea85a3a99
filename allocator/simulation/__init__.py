"""Markets with known truth, replay of plans, design and measurement of campaigns."""

from allocator.simulation.comparing import Comparison, Contest, compare
from allocator.simulation.design import design
from allocator.simulation.issued import Issued, issued_of
from allocator.simulation.market import Market, Outcomes, Trial, Truth
from allocator.simulation.measuring import measure
from allocator.simulation.settings import Settings
from allocator.simulation.simulating import Simulation, simulate

__all__ = [
    "Comparison",
    "Contest",
    "Issued",
    "Market",
    "Outcomes",
    "Settings",
    "Simulation",
    "Trial",
    "Truth",
    "compare",
    "design",
    "issued_of",
    "measure",
    "simulate",
]
