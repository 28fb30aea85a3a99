"""Prices, the integer core, and simpler strategies. OR-Tools lives here and nowhere else."""
