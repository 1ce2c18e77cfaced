"""The wallet: credit that was given or bought, what became of it, and how far a tenant may go on account.

Grants and draws are append-only; what is left of a grant is its amount less its draws.
"""

from django.db import models

from kit.clock import now
from tenants.models import LastingModel


class CreditGrant(LastingModel):
    """Credit of one kind, given or bought once."""

    prefix = "cgr_"

    class Kind(models.TextChoices):
        """Where it came from, which also says when its turn is (`billing.ledger.waterfall`)."""

        PROMO = "promo"
        GOODWILL = "goodwill"
        ROLLOVER = "rollover"
        PREPAID = "prepaid"

    kind = models.CharField(max_length=10, choices=Kind.choices)
    amount_nano = models.BigIntegerField()
    expires_at = models.DateTimeField(null=True)
    priority = models.SmallIntegerField(default=50)
    """Of grants that end together the smaller one is used first."""
    source = models.CharField(max_length=200)
    """What caused it (a payment, a staff action); a second grant of the same source cannot exist."""
    reason = models.CharField(max_length=300, blank=True)
    """What the tenant reads."""
    created_by = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "source"], name="billing_grant_once"),
            models.CheckConstraint(condition=models.Q(amount_nano__gt=0), name="billing_grant_more_than_nothing"),
        ]
        indexes = [models.Index(fields=["tenant", "-created_at"], name="billing_grant_recent")]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount_nano}"


class CreditDraw(LastingModel):
    """What one grant lost at once; negative where it got something back."""

    prefix = "cdr_"

    class Kind(models.TextChoices):
        """What it was lost to."""

        USED = "used"
        EXPIRED = "expired"
        REFUNDED = "refunded"
        """Staff took it out, to give its money back."""
        RETURNED = "returned"
        """Its money went back at Stripe, by a refund or a dispute; negative where it came again."""
        SETTLED = "settled"
        """Negative: of what it had less than nothing, so much was made up for by credit that ended beside it."""

    grant = models.ForeignKey(CreditGrant, on_delete=models.PROTECT, related_name="draws")
    transaction = models.ForeignKey("billing.LedgerTransaction", on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    period = models.DateField(null=True)
    """First day of the month whose usage it paid for; null where it paid for none."""
    amount_nano = models.BigIntegerField()
    at = models.DateTimeField(default=now, editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=~models.Q(amount_nano=0), name="billing_draw_not_zero"),
            models.CheckConstraint(
                condition=models.Q(kind="used", period__isnull=False)
                | (~models.Q(kind="used") & models.Q(period=None)),
                name="billing_draw_period",
            ),
        ]
        indexes = [
            models.Index(fields=["tenant", "grant"], name="billing_draw_grant"),
            models.Index(fields=["tenant", "period"], name="billing_draw_period_of"),
            models.Index(fields=["tenant", "-at"], name="billing_draw_recent"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount_nano}"


class Wallet(LastingModel):
    """How a tenant pays beyond its credit. No row, or both limits empty: on account, up to its spend limits."""

    prefix = "wal_"

    postpaid_nano = models.BigIntegerField(null=True)
    """What it allows itself to owe in a month beyond its credit; 0 stops when credit is gone."""
    postpaid_most_nano = models.BigIntegerField(null=True)
    """What staff allow it to owe in a month; the smaller of the two holds."""
    slow_nano = models.BigIntegerField(null=True)
    """At so much left of credit and what may be owed, or less, calls are slowed; null: never."""
    changed_at = models.DateTimeField(default=now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant"], name="billing_wallet_once")]

    def __str__(self) -> str:
        return f"{self.postpaid_nano} of {self.postpaid_most_nano}"
