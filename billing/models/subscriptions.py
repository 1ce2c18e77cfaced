"""The mirror of what Stripe says about a tenant, and what follows from it.

The mirrors (`BillingCustomer`, `Subscription`, `Invoice`) are written by the sync alone, from objects it has just
fetched. `TenantEntitlement` is the one place that says what a tenant may do.
"""

from django.db import models

from billing.models.ledger import Booked
from kit.clock import now
from tenants.models import LastingModel


class BillingCustomer(LastingModel):
    """The tenant at Stripe."""

    prefix = "cus_"

    stripe_id = models.CharField(max_length=255, unique=True)
    email = models.EmailField(blank=True)
    delinquent = models.BooleanField(default=False)
    card = models.JSONField(null=True)
    """{"brand", "last4", "exp_month", "exp_year"} of the card that is charged, for display."""
    legal_name = models.CharField(max_length=256, blank=True, default="", db_default="")
    """Who invoices are made out to."""
    address = models.JSONField(default=dict, db_default={})
    """{"line1", "line2", "postal_code", "city", "state", "country"}, as printed on invoices."""
    tax_ids = models.JSONField(default=list, db_default=[])
    """[{"id", "type", "value", "status"}]; a status is what Stripe's check of it found."""
    created_at = models.DateTimeField(default=now, editable=False)
    fetched_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant"], name="billing_customer_once")]

    def __str__(self) -> str:
        return self.stripe_id


class Subscription(LastingModel):
    """One subscription as Stripe last told it. It pins a plan version."""

    prefix = "sub_"

    stripe_id = models.CharField(max_length=255, unique=True)
    status = models.CharField(max_length=30)
    plan = models.CharField(max_length=40, blank=True)
    plan_version = models.PositiveIntegerField(default=0)
    price_id = models.CharField(max_length=255, blank=True)
    period_start = models.DateTimeField(null=True)
    period_end = models.DateTimeField(null=True)
    trial_end = models.DateTimeField(null=True)
    cancel_at_period_end = models.BooleanField(default=False)
    cancel_at = models.DateTimeField(null=True)
    canceled_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    past_due_since = models.DateTimeField(null=True)
    """When it was first seen past due, for the grace period."""
    started_at = models.DateTimeField(null=True)
    raw = models.JSONField(default=dict)
    fetched_at = models.DateTimeField(default=now)

    class Meta:
        indexes = [models.Index(fields=["tenant", "-started_at"], name="billing_subscription_recent")]

    def __str__(self) -> str:
        return f"{self.stripe_id} {self.status}"


class Invoice(Booked):
    """One invoice as Stripe last told it. Amounts are cents of its currency."""

    prefix = "inv_"

    stripe_id = models.CharField(max_length=255, unique=True)
    subscription_id = models.CharField(max_length=255, blank=True)
    """Stripe's id of the subscription it is for."""
    number = models.CharField(max_length=100, blank=True)
    status = models.CharField(max_length=20)
    billing_reason = models.CharField(max_length=40, blank=True)
    currency = models.CharField(max_length=3)
    total = models.BigIntegerField()
    amount_due = models.BigIntegerField()
    amount_paid = models.BigIntegerField()
    attempt_count = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True)
    needs_action = models.BooleanField(default=False, db_default=False)
    """The bank wants the card's owner to confirm the payment (3-D Secure), on the invoice's hosted page."""
    period_start = models.DateTimeField(null=True)
    period_end = models.DateTimeField(null=True)
    issued_at = models.DateTimeField()
    due_at = models.DateTimeField(null=True)
    paid_at = models.DateTimeField(null=True)
    hosted_url = models.URLField(max_length=2000, blank=True)
    pdf_url = models.URLField(max_length=2000, blank=True)
    lines = models.JSONField(default=list)
    """[{"description", "amount", "quantity", "period_start", "period_end"}]: cents, and seconds since 1970."""

    class Meta:
        indexes = [
            models.Index(fields=["tenant", "-issued_at"], name="billing_invoice_recent"),
            models.Index(fields=["tenant"], name="billing_invoice_to_book", condition=models.Q(booked_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return self.number or self.stripe_id


class TenantEntitlement(LastingModel):
    """What the tenant may do now: derived, never edited. `version` grows with each change."""

    prefix = "ent_"

    plan = models.CharField(max_length=40)
    plan_version = models.PositiveIntegerField()
    standing = models.CharField(max_length=20)
    """`good`, `grace` (a payment is late) or `restricted` (too late)."""
    limits = models.JSONField()
    features = models.JSONField()
    allowance = models.JSONField()
    subscription = models.CharField(max_length=255, blank=True)
    """Stripe's id of the subscription it rests on; empty on the free plan."""
    until = models.DateTimeField(null=True)
    """When it must be derived again even without news (an override or the grace ends)."""
    step = models.CharField(max_length=20, blank=True, default="", db_default="")
    """How far overdue invoices have brought it (`plans.ladder`)."""
    step_since = models.DateTimeField(null=True)
    """Since when the oldest of them is overdue."""
    step_status = models.CharField(max_length=20, blank=True, default="", db_default="")
    """The status that the step gave the organisation, to be taken back with it; empty for none."""
    version = models.PositiveIntegerField(default=1)
    derived_at = models.DateTimeField(default=now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant"], name="billing_entitlement_once")]
        indexes = [
            models.Index(fields=["until"], name="billing_entitlement_due", condition=models.Q(until__isnull=False))
        ]

    def __str__(self) -> str:
        return f"{self.plan} {self.plan_version}"


class AllowanceChange(LastingModel):
    """From when on which plan's allowance counted. Only ever added to: a month is billed by what was in force in it,
    not by the plan of the day it is closed."""

    prefix = "alw_"

    since = models.DateTimeField(default=now)
    plan = models.CharField(max_length=40)
    plan_version = models.PositiveIntegerField()
    allowance_nano = models.BigIntegerField()

    class Meta:
        indexes = [models.Index(fields=["tenant", "since"], name="billing_allowance_since")]

    def __str__(self) -> str:
        return f"{self.plan} {self.plan_version} since {self.since:%Y-%m-%d %H:%M}"


class EntitlementOverride(LastingModel):
    """A change to one tenant's limits or features, by staff or by contract, with a reason and dates."""

    prefix = "ovr_"

    limits = models.JSONField(default=dict)
    features = models.JSONField(default=list)
    """Features granted on top of the plan's."""
    plan = models.CharField(max_length=40, blank=True)
    """A plan granted without a subscription; empty for none."""
    plan_version = models.PositiveIntegerField(default=0)
    reason = models.CharField(max_length=300)
    created_by = models.CharField(max_length=254)
    created_at = models.DateTimeField(default=now, editable=False)
    valid_from = models.DateTimeField(default=now)
    valid_until = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [models.Index(fields=["tenant", "-created_at"], name="billing_override_recent")]

    def __str__(self) -> str:
        limits = [f"{name}={value}" for name, value in sorted(self.limits.items())]
        return ", ".join([*([f"plan {self.plan}"] if self.plan else []), *limits, *self.features])


class InvoiceLinePush(LastingModel):
    """One rated line of a closed period on its way to Stripe, written before the call that sends it."""

    prefix = "push_"

    period = models.DateField()
    """First day of the closed month, UTC."""
    line_key = models.CharField(max_length=200)
    description = models.CharField(max_length=500)
    amount_nano = models.BigIntegerField()
    """The exact price, with what earlier rounding left over."""
    amount_cents = models.BigIntegerField()
    """What the invoice says."""
    remainder_nano = models.BigIntegerField(default=0)
    """amount_nano less the cents: carried to the same line of the next period."""
    stripe_item_id = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField(default=now, editable=False)
    sent_at = models.DateTimeField(null=True)
    invoice_id = models.CharField(max_length=255, blank=True, db_default="", default="")
    """Stripe's id of the invoice it is on; empty while it waits there, or we have not seen it yet."""

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "period", "line_key"], name="billing_push_once")]
        indexes = [
            models.Index(
                fields=["tenant"],
                name="billing_push_waits",
                condition=models.Q(invoice_id="", sent_at__isnull=False) & ~models.Q(amount_cents=0),
            )
        ]

    def __str__(self) -> str:
        return f"{self.period:%Y-%m} {self.line_key}"
