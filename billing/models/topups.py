"""Credit that is bought by itself when the balance falls: what was agreed, whether it is on, and each purchase."""

from django.db import models

from kit.clock import now
from tenants.models import LastingModel


class TopUpConsent(LastingModel):
    """What somebody agreed to, in the words they saw. Append-only; a change is a new one."""

    prefix = "tuc_"

    below_nano = models.BigIntegerField()
    """The balance under which credit is bought."""
    amount_nano = models.BigIntegerField()
    """How much is bought at once; whole cents."""
    month_most_nano = models.BigIntegerField()
    """What purchases of one month (UTC) may come to."""
    text = models.TextField()
    by_kind = models.CharField(max_length=10)
    by_id = models.CharField(max_length=100)
    by_label = models.CharField(max_length=254)
    """Who agreed, as the audit log names them."""
    at = models.DateTimeField(default=now, editable=False)

    class Meta:
        indexes = [models.Index(fields=["tenant", "-at"], name="billing_topup_consents")]

    def __str__(self) -> str:
        return f"{self.amount_nano} below {self.below_nano}"


class TopUp(LastingModel):
    """One purchase: an invoice of its own, charged to the saved card."""

    prefix = "topup_"

    class State(models.TextChoices):
        """Where it stands."""

        WAITING = "waiting"
        """On its way to Stripe, or paid there and not credited yet."""
        PAID = "paid"
        """Paid, and the credit is in the wallet."""
        FAILED = "failed"
        """Refused; its invoice is open and can still be paid by hand."""
        VOID = "void"
        """Its invoice can be paid no more, or was never made."""

    class Reason(models.TextChoices):
        """Why it failed."""

        DECLINED = "declined"
        CONFIRM = "confirm"
        """The bank wants the card's owner to confirm the payment."""
        REFUSED = "refused"
        """Stripe did not take the request."""

    consent = models.ForeignKey(TopUpConsent, on_delete=models.PROTECT, related_name="+")
    amount_nano = models.BigIntegerField()
    month = models.DateField()
    """First day of the month (UTC) in which it counts."""
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    invoice_id = models.CharField(max_length=255, blank=True)
    reason = models.CharField(max_length=10, choices=Reason.choices, blank=True)
    message = models.CharField(max_length=500, blank=True)
    """What the tenant reads of a failure."""
    url = models.CharField(max_length=1000, blank=True)
    """Stripe's page where the invoice can be paid."""
    created_at = models.DateTimeField(default=now, editable=False)
    changed_at = models.DateTimeField(default=now)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant"], condition=models.Q(state="waiting"), name="billing_topup_one_on_its_way"
            ),
            models.CheckConstraint(condition=models.Q(amount_nano__gt=0), name="billing_topup_more_than_nothing"),
        ]
        indexes = [models.Index(fields=["tenant", "-created_at"], name="billing_topup_recent")]

    def __str__(self) -> str:
        return f"{self.amount_nano} {self.state}"


class AutoTopUp(LastingModel):
    """Whether a tenant's credit is topped up by itself, and by which consent."""

    prefix = "atu_"

    consent = models.ForeignKey(TopUpConsent, on_delete=models.PROTECT, related_name="+")
    on = models.BooleanField(default=True)
    failed = models.ForeignKey(TopUp, on_delete=models.PROTECT, null=True, related_name="+")
    """The purchase that turned it off; null where a member did."""
    changed_at = models.DateTimeField(default=now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant"], name="billing_autotopup_once")]
        indexes = [models.Index(fields=["tenant"], name="billing_autotopup_on", condition=models.Q(on=True))]

    def __str__(self) -> str:
        return "on" if self.on else "off"
