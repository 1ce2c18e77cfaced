"""Usage that is told to a meter at Stripe hour by hour, and by which way each month's bill gets there."""

from django.db import models

from kit.clock import now
from tenants.models import LastingModel


class BillSink(LastingModel):
    """By which way a month's bill reaches Stripe. Decided once, by what first took something of it, and never changed:
    whoever switches in the middle of a month charges nothing twice."""

    class Sink(models.TextChoices):
        """The two ways."""

        INVOICE_ITEMS = "invoice_items"
        """Its lines are put on an invoice when the month has closed."""
        METER_EVENTS = "meter_events"
        """What is owed is told to a meter as hours close; what no meter can take is one line."""

    prefix = "snk_"

    period = models.DateField()
    """First day of the month, UTC."""
    sink = models.CharField(max_length=20, choices=Sink.choices)
    decided_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "period"], name="billing_sink_once")]

    def __str__(self) -> str:
        return f"{self.period:%Y-%m} {self.sink}"


class MeterReading(LastingModel):
    """What a meter at Stripe is told after one closed hour: so many more cents are owed."""

    class State(models.TextChoices):
        """Where it stands."""

        WAITING = "waiting"
        SENT = "sent"
        """Stripe took it, now or when it was sent before."""
        BILLED = "billed"
        """It is on an invoice."""
        LOST = "lost"
        """No invoice will ever have it: its cents are owed again, and go another way."""

    prefix = "mrd_"

    period = models.DateField()
    """The month that the hour is in."""
    hour = models.DateTimeField()
    """The end of the last closed hour that it counts."""
    revision = models.PositiveIntegerField(default=0)
    """Grows when the same hour has something to tell again: late usage, or a reading that was lost."""
    units = models.BigIntegerField()
    """Whole cents. Parts of one wait for a later hour."""
    identifier = models.CharField(max_length=100)
    """Stripe counts an event of one identifier once."""
    subscription_id = models.CharField(max_length=255, blank=True)
    """Stripe's id of the subscription that it is billed with; empty until it is on its way."""
    at = models.DateTimeField(null=True)
    """The moment that Stripe counts it at; fixed when it is first sent."""
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    error = models.CharField(max_length=300, blank=True)
    refused = models.BooleanField(default=False)
    """Stripe found it wrong; for a day nothing more goes to the meter."""
    invoice_id = models.CharField(max_length=255, blank=True)
    """Stripe's id of the invoice that it is on."""
    created_at = models.DateTimeField(default=now, editable=False)
    sent_at = models.DateTimeField(null=True)
    settled_at = models.DateTimeField(null=True)
    """When it was found to be billed, or lost."""

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "hour", "revision"], name="billing_reading_once"),
            models.UniqueConstraint(fields=["identifier"], name="billing_reading_identifier"),
            models.CheckConstraint(condition=models.Q(units__gt=0), name="billing_reading_positive"),
        ]
        indexes = [
            models.Index(
                fields=["tenant", "at"], name="billing_reading_open", condition=models.Q(state__in=["waiting", "sent"])
            ),
        ]

    def __str__(self) -> str:
        return self.identifier
