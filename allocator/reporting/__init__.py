"""A result for people: JSON, terminal, HTML."""
