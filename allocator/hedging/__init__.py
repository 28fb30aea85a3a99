"""Plans that stand up to chance: a budget that holds with a probability, and effects that are not known for sure."""
