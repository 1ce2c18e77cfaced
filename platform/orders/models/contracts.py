"""What an acceptance makes: a contract, its milestones, and invoices. Money is whole cents."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from kit.clock import now
from orders.models.orders import Order
from orders.models.quotes import Acceptance
from tenants.models import LastingModel


class Contract(LastingModel):
    """What was agreed, with the versions and hashes of the papers that were part of it."""

    prefix = "contract_"

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="contracts", db_index=False)
    acceptance = models.ForeignKey(Acceptance, on_delete=models.PROTECT, related_name="+", db_index=False)
    number = models.CharField(max_length=32, unique=True)
    total_cents = models.BigIntegerField()
    deposit_cents = models.BigIntegerField()
    net_days = models.PositiveIntegerField()
    purchase_order = models.CharField(max_length=30, blank=True)
    terms_version = models.PositiveIntegerField()
    terms_sha256 = models.CharField(max_length=64)
    dpa_version = models.PositiveIntegerField()
    dpa_sha256 = models.CharField(max_length=64)
    warranty_days = models.PositiveIntegerField()
    signed_at = models.DateTimeField()
    delivered_at = models.DateTimeField(null=True)
    warranty_until = models.DateField(null=True)
    reminded_at = models.DateTimeField(null=True)
    """When both sides were told that the warranty ends."""

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "order"], name="orders_contract_once")]
        indexes = [
            models.Index(
                fields=["warranty_until"],
                name="orders_contract_warranty",
                condition=models.Q(warranty_until__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return self.number


class Milestone(LastingModel):
    """A part of the work: what it must reach on held-out data, what was reached, and whether it was accepted."""

    prefix = "mile_"

    class State(models.TextChoices):
        """Where it stands."""

        OPEN = "open", _("Open")
        DELIVERED = "delivered", _("Delivered, to be accepted")
        ACCEPTED = "accepted", _("Accepted")

    contract = models.ForeignKey(Contract, on_delete=models.PROTECT, related_name="milestones", db_index=False)
    position = models.PositiveIntegerField()
    title = models.CharField(max_length=120)
    cents = models.BigIntegerField()
    due_on = models.DateField()
    metric = models.CharField(max_length=40, blank=True)
    """A metric of the report that decides, such as `macro_f1`; empty where the customer looks for themselves."""
    least = models.FloatField(null=True)
    state = models.CharField(max_length=12, choices=State, default=State.OPEN)
    model = models.CharField(max_length=300, blank=True)
    """The delivered model's public name."""
    version_id = models.UUIDField(null=True)
    """The delivered version in the registry of the order's project."""
    measured = models.JSONField(null=True)
    """{"metric", "value", "low", "high", "rows", "least", "met"} on rows that training never saw."""
    delivered_at = models.DateTimeField(null=True)
    accepted_at = models.DateTimeField(null=True)
    accepted_by = models.CharField(max_length=254, blank=True)
    warranty = models.BooleanField(default=False, db_default=False)
    """Training again under the warranty: it costs nothing, and must reach what was agreed."""

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "contract", "position"], name="orders_milestone_once")]

    def __str__(self) -> str:
        return self.title


class OrderInvoice(LastingModel):
    """An invoice that an order asks for: the deposit, or a milestone. Written first, then made at Stripe."""

    prefix = "ordinv_"

    class Kind(models.TextChoices):
        """What for."""

        DEPOSIT = "deposit", _("Deposit")
        MILESTONE = "milestone", _("Milestone")
        REST = "rest", _("Rest")
        """What was credited of another one by mistake, asked for once more."""

    contract = models.ForeignKey(Contract, on_delete=models.PROTECT, related_name="invoices", db_index=False)
    milestone = models.ForeignKey(Milestone, on_delete=models.PROTECT, null=True, related_name="+", db_index=False)
    kind = models.CharField(max_length=10, choices=Kind)
    description = models.CharField(max_length=300)
    cents = models.BigIntegerField()
    stripe_id = models.CharField(max_length=255, blank=True)
    problem = models.CharField(max_length=300, blank=True)
    """Why it does not count as paid though nothing is left to pay."""
    waived_cents = models.BigIntegerField(default=0, db_default=0)
    """Of what was credited: what staff decided that nobody owes any more."""
    again_cents = models.BigIntegerField(default=0, db_default=0)
    """Of what was credited: what other invoices ask for."""
    created_at = models.DateTimeField(default=now, editable=False)
    sent_at = models.DateTimeField(null=True)
    paid_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "contract", "kind", "milestone"],
                condition=~models.Q(kind="rest"),
                nulls_distinct=False,
                name="orders_invoice_once",
            ),
            models.CheckConstraint(condition=models.Q(cents__gt=0), name="orders_invoice_asks"),
            models.CheckConstraint(
                condition=models.Q(
                    waived_cents__gte=0,
                    again_cents__gte=0,
                    cents__gte=models.F("waived_cents") + models.F("again_cents"),
                ),
                name="orders_invoice_rest",
            ),
        ]
        indexes = [
            models.Index(fields=["created_at"], name="orders_invoice_open", condition=models.Q(paid_at__isnull=True))
        ]

    def __str__(self) -> str:
        return self.description


class OrderTransfer(LastingModel):
    """A payment by bank transfer that staff saw, for all that was open of an invoice. Only ever added."""

    prefix = "ordtrf_"

    invoice = models.ForeignKey(OrderInvoice, on_delete=models.PROTECT, related_name="transfers", db_index=False)
    reference = models.CharField(max_length=140)
    """What the bank's statement says."""
    cents = models.BigIntegerField()
    received_on = models.DateField()
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "invoice"], name="orders_transfer_once"),
            models.CheckConstraint(condition=models.Q(cents__gt=0), name="orders_transfer_pays"),
        ]

    def __str__(self) -> str:
        return self.reference
