"""The TensorFlow network. TensorFlow is imported when a network is built, not before."""

from uplift.network.settings import Progress, Schedule, Settings

__all__ = ["Progress", "Schedule", "Settings"]
