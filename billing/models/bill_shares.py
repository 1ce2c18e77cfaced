"""Which rated lines stand on which bill."""

from django.db import models

from billing.models.ledger import PeriodClose
from billing.models.metering import RatedLine
from kit.clock import now
from tenants.models import LastingModel


class BillLineShare(LastingModel):
    """What one closed month's bill has of one rated line. A trigger on the rated lines writes it in the transaction
    that bills them, so the shares of a bill sum to its usage, to the nano. Never changed.

    A day whose usage came late has a share on the bill of its month and one on the bill it was late for.
    """

    close = models.ForeignKey(PeriodClose, on_delete=models.PROTECT, related_name="+", db_index=False)
    rated_line = models.ForeignKey(RatedLine, on_delete=models.PROTECT, related_name="+", db_index=False)
    quantity = models.BigIntegerField()
    """What the bill counted of it, in the bill line's unit; 0 where an earlier bill had counted it."""
    amount_nano = models.BigIntegerField()
    at = models.DateTimeField(default=now)

    class Meta:
        indexes = [
            models.Index(fields=["tenant", "close"], name="billing_share_close"),
            models.Index(fields=["tenant", "rated_line"], name="billing_share_line"),
        ]

    def __str__(self) -> str:
        return f"{self.amount_nano} of {self.rated_line_id}"
