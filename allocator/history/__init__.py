"""Transactions, products and trials of the past, checked at the door, and the user profiles made of them."""
