"""The mirror of what goes back: refunds, credit notes, disputes. Amounts are cents of their currency."""

from django.db import models

from billing.models.ledger import Booked
from billing.models.wallet import CreditGrant


class Refund(Booked):
    """Money given back to a card."""

    prefix = "rfd_"

    stripe_id = models.CharField(max_length=255, unique=True)
    status = models.CharField(max_length=30)
    currency = models.CharField(max_length=3)
    amount = models.BigIntegerField()
    charge_id = models.CharField(max_length=255, blank=True)
    """Stripe's id of the charge it goes back from."""
    grant = models.ForeignKey(CreditGrant, null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    """The credit that was bought with the money, where it was for credit."""
    reason = models.CharField(max_length=60, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["tenant", "-created_at"], name="billing_refund_recent"),
            models.Index(fields=["tenant"], name="billing_refund_to_book", condition=models.Q(booked_at__isnull=True)),
            models.Index(fields=["grant"], name="billing_refund_grant", condition=models.Q(grant__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.stripe_id} {self.status}"


class CreditNote(Booked):
    """What an invoice asks for less than it did."""

    prefix = "crn_"

    stripe_id = models.CharField(max_length=255, unique=True)
    invoice_id = models.CharField(max_length=255)
    """Stripe's id of the invoice it corrects."""
    number = models.CharField(max_length=100, blank=True)
    status = models.CharField(max_length=30)
    currency = models.CharField(max_length=3)
    amount = models.BigIntegerField()
    reason = models.CharField(max_length=60, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["tenant", "invoice_id"], name="billing_note_invoice"),
            models.Index(fields=["tenant"], name="billing_note_to_book", condition=models.Q(booked_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return self.number or self.stripe_id


class PaymentDispute(Booked):
    """A payment that the cardholder's bank disputes."""

    prefix = "pdp_"

    stripe_id = models.CharField(max_length=255, unique=True)
    status = models.CharField(max_length=30)
    currency = models.CharField(max_length=3)
    amount = models.BigIntegerField()
    charge_id = models.CharField(max_length=255, blank=True)
    """Stripe's id of the charge that is disputed."""
    grant = models.ForeignKey(CreditGrant, null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    """The credit that was bought with the money, where it was for credit."""
    reason = models.CharField(max_length=60, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["tenant", "-created_at"], name="billing_dispute_recent"),
            models.Index(fields=["tenant"], name="billing_dispute_to_book", condition=models.Q(booked_at__isnull=True)),
            models.Index(fields=["grant"], name="billing_dispute_grant", condition=models.Q(grant__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.stripe_id} {self.status}"
