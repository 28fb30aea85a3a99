"""Markets with known truth, replay of plans, design and measurement of campaigns."""

from allocator.simulation.issued import Issued, issued_of
from allocator.simulation.market import Market, Outcomes, Trial, Truth
from allocator.simulation.settings import Settings
from allocator.simulation.simulating import Simulation, simulate

__all__ = ["Issued", "Market", "Outcomes", "Settings", "Simulation", "Trial", "Truth", "issued_of", "simulate"]
