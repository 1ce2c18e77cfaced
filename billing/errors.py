"""The room's errors."""

from kit.errors import Conflict, PaymentRequired


class BudgetExceeded(PaymentRequired):
    """A spend limit does not cover this."""


class PeriodOpen(Conflict):
    """The month has not ended."""


class LedgerError(Exception):
    """A transaction that does not balance: a bug of ours, stopped before it reaches the ledger."""
