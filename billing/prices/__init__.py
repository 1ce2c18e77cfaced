"""Immutable price books and the pure function from a usage to its cost. No Django, no clock, no network.

book = price_books()                      # every published book, checked against its recorded digest
version = book.current(now_ms, "usd")
cost = rate(Usage(kind="classify", model="ft:all-MiniLM-L6-v2:acme:intents:x", input_tokens=12), version)
"""

from billing.prices.books_file import PriceBooks, PriceError, price_books
from billing.prices.rating import (
    ENGINES,
    NOT_CALLS,
    STORAGE,
    TRAINING,
    Adjustment,
    Price,
    PriceVersion,
    Usage,
    adjustment,
    ahead,
    batch_kind,
    is_batch,
    month_cost,
    rate,
)
from billing.prices.scales import Flat, Graduated, Package, Scale, Tier, Volume

__all__ = [
    "ENGINES",
    "NOT_CALLS",
    "STORAGE",
    "TRAINING",
    "Adjustment",
    "Flat",
    "Graduated",
    "Package",
    "Price",
    "PriceBooks",
    "PriceError",
    "PriceVersion",
    "Scale",
    "Tier",
    "Usage",
    "Volume",
    "adjustment",
    "ahead",
    "batch_kind",
    "is_batch",
    "month_cost",
    "price_books",
    "rate",
]
