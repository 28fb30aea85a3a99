"""Markets with known truth, replay of plans, design and measurement of campaigns."""
