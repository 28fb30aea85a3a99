"""Compiled loops over raw arrays. They trust their input: it was checked at the door."""
