"""From history and trials to a model folder, and from a model to predictions: where uplift and cf are joined."""
