"""Events as they come: columns, their checks, their faults, and Parquet files read in batches."""

from cf.events.columns import Events
from cf.events.faults import Faults
from cf.events.parquet import EventFiles

__all__ = ["EventFiles", "Events", "Faults"]
