"""What is known of the past: transactions, products, users, trials; and profiles made of them."""

from allocator.history.faults import Fault, Faults
from allocator.history.people import Users, read_users
from allocator.history.products import Products, read_products
from allocator.history.profiles import Profiles, profiles
from allocator.history.schema import Feature, ProfileSchema
from allocator.history.transactions import Lines, Transactions, moment, read_transactions
from allocator.history.trial import CONTROL, TrialTable, read_trial

__all__ = [
    "CONTROL",
    "Fault",
    "Faults",
    "Feature",
    "Lines",
    "Products",
    "ProfileSchema",
    "Profiles",
    "Transactions",
    "TrialTable",
    "Users",
    "moment",
    "profiles",
    "read_products",
    "read_transactions",
    "read_trial",
    "read_users",
]
