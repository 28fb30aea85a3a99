"""Markets with known truth, replay of plans, design and measurement of campaigns, and campaigns over time."""

from allocator.careful import hedge
from allocator.simulation.comparing import Comparison, Contest, compare
from allocator.simulation.demand import Demand, baskets_of, forecast
from allocator.simulation.design import Design, design
from allocator.simulation.holdout import hold_out
from allocator.simulation.issued import Issued, issued_of
from allocator.simulation.logged import LoggedValue, value_on_log
from allocator.simulation.market import Market
from allocator.simulation.measuring import Measurement, measure
from allocator.simulation.paces import Paced, compare_paces
from allocator.simulation.pacing import ByPrices, EqualSplit, GreedyFirst
from allocator.simulation.settings import Settings
from allocator.simulation.simulating import Simulation, simulate
from allocator.simulation.stock import Stock, read_stock
from allocator.simulation.truth import Outcomes, Trial, Truth
from allocator.simulation.waves import Campaign as WaveCampaign
from allocator.simulation.waves import Stage
from allocator.simulation.waves import run as run_waves

__all__ = [
    "ByPrices",
    "Comparison",
    "Contest",
    "Demand",
    "Design",
    "EqualSplit",
    "GreedyFirst",
    "Issued",
    "LoggedValue",
    "Market",
    "Measurement",
    "Outcomes",
    "Paced",
    "Settings",
    "Simulation",
    "Stage",
    "Stock",
    "Trial",
    "Truth",
    "WaveCampaign",
    "baskets_of",
    "compare",
    "compare_paces",
    "design",
    "forecast",
    "hedge",
    "hold_out",
    "issued_of",
    "measure",
    "read_stock",
    "run_waves",
    "simulate",
    "value_on_log",
]
