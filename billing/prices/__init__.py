"""Immutable price books and the pure function from a usage to its cost. No Django, no clock, no network.

book = price_books()                      # every published book, checked against its recorded digest
version = book.current(now_ms)
cost = rate(Usage(kind="classify", model="ft:all-MiniLM-L6-v2:acme:intents:x", input_tokens=12), version)
"""

from billing.prices.books_file import PriceBooks, PriceError, price_books
from billing.prices.rating import (
    ENGINES,
    NOT_CALLS,
    STORAGE,
    TRAINING,
    Price,
    PriceVersion,
    Usage,
    batch_kind,
    is_batch,
    rate,
)

__all__ = [
    "ENGINES",
    "NOT_CALLS",
    "STORAGE",
    "TRAINING",
    "Price",
    "PriceBooks",
    "PriceError",
    "PriceVersion",
    "Usage",
    "batch_kind",
    "is_batch",
    "price_books",
    "rate",
]
