"""A quote, its revisions that never change, and how one is accepted. Money is whole cents."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from kit.clock import now
from orders.models.orders import Order
from tenants.models import LastingModel


class Quote(LastingModel):
    """The offer for an order: one, with revisions."""

    prefix = "quote_"

    class State(models.TextChoices):
        """Of its newest revision."""

        DRAFT = "draft", _("Draft")
        SENT = "sent", _("Sent")
        ACCEPTED = "accepted", _("Accepted")
        EXPIRED = "expired", _("Expired")
        WITHDRAWN = "withdrawn", _("Withdrawn")

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="quotes", db_index=False)
    number = models.CharField(max_length=32, unique=True)
    state = models.CharField(max_length=12, choices=State, default=State.DRAFT)
    revision = models.PositiveIntegerField(default=0)
    """Of the newest one; what was sent is always this one."""
    expires_at = models.DateTimeField(null=True)
    """Of what was sent."""
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "order"], name="orders_quote_once")]
        indexes = [models.Index(fields=["expires_at"], name="orders_quote_due", condition=models.Q(state="sent"))]

    def __str__(self) -> str:
        return self.number


class QuoteRevision(LastingModel):
    """One wording of a quote, with its document. Only ever added."""

    prefix = "qrev_"

    quote = models.ForeignKey(Quote, on_delete=models.PROTECT, related_name="revisions", db_index=False)
    number = models.PositiveIntegerField()
    customer = models.CharField(max_length=200)
    """The organisation's name as it was."""
    scope = models.TextField()
    """What will be made, and what counts as done."""
    milestones = models.JSONField()
    """[{"title", "cents", "days", "metric", "least"}]: what is delivered, what it costs, when, what it must reach."""
    subtotal_cents = models.BigIntegerField()
    discount_bp = models.PositiveIntegerField(default=0)
    discount_cents = models.BigIntegerField(default=0)
    total_cents = models.BigIntegerField()
    deposit_bp = models.PositiveIntegerField(default=0)
    deposit_cents = models.BigIntegerField(default=0)
    net_days = models.PositiveIntegerField(default=30)
    valid_until = models.DateField()
    warranty_days = models.PositiveIntegerField(default=90)
    terms_version = models.PositiveIntegerField()
    terms_sha256 = models.CharField(max_length=64)
    dpa_version = models.PositiveIntegerField()
    dpa_sha256 = models.CharField(max_length=64)
    document = models.BinaryField()
    """The PDF."""
    sha256 = models.CharField(max_length=64)
    author_id = models.CharField(max_length=64)
    author = models.CharField(max_length=254)
    created_at = models.DateTimeField(editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "quote", "number"], name="orders_revision_once"),
            models.CheckConstraint(
                condition=models.Q(
                    subtotal_cents__gte=0,
                    discount_cents__gte=0,
                    total_cents__gt=0,
                    deposit_cents__gte=0,
                    total_cents=models.F("subtotal_cents") - models.F("discount_cents"),
                    deposit_cents__lte=models.F("total_cents"),
                ),
                name="orders_revision_adds_up",
            ),
        ]

    def __str__(self) -> str:
        return f"revision {self.number}"


class QuoteLine(LastingModel):
    """One line of a revision. Only ever added."""

    prefix = "qline_"

    revision = models.ForeignKey(QuoteRevision, on_delete=models.PROTECT, related_name="lines", db_index=False)
    position = models.PositiveIntegerField()
    description = models.CharField(max_length=300)
    quantity = models.BigIntegerField()
    unit_cents = models.BigIntegerField()
    amount_cents = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "revision", "position"], name="orders_line_once"),
            models.CheckConstraint(
                condition=models.Q(
                    quantity__gt=0, unit_cents__gte=0, amount_cents=models.F("quantity") * models.F("unit_cents")
                ),
                name="orders_line_adds_up",
            ),
        ]

    def __str__(self) -> str:
        return self.description[:80]


class Approval(LastingModel):
    """A second person of staff agrees to a revision's discount. Only ever added."""

    prefix = "qapp_"

    revision = models.ForeignKey(QuoteRevision, on_delete=models.PROTECT, related_name="approvals", db_index=False)
    by_id = models.CharField(max_length=64)
    by = models.CharField(max_length=254)
    reason = models.CharField(max_length=300)
    at = models.DateTimeField(default=now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "revision", "by_id"], name="orders_approval_once")]

    def __str__(self) -> str:
        return f"by {self.by}"


class QuoteLink(LastingModel):
    """A way to the acceptance page for one person. Only the hash of its token is kept; it accepts once."""

    prefix = "qlink_"

    revision = models.ForeignKey(QuoteRevision, on_delete=models.PROTECT, related_name="links", db_index=False)
    email = models.EmailField(max_length=254)
    token_hash = models.CharField(max_length=64, unique=True)
    created_by = models.CharField(max_length=254, blank=True)
    created_at = models.DateTimeField(default=now, editable=False)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["tenant", "revision"], name="orders_link_of_revision")]

    def __str__(self) -> str:
        return f"to {self.email}"


class Acceptance(LastingModel):
    """Who accepted which document, when and from where. Only ever added."""

    prefix = "qacc_"

    revision = models.ForeignKey(QuoteRevision, on_delete=models.PROTECT, related_name="acceptances", db_index=False)
    link = models.ForeignKey(QuoteLink, on_delete=models.PROTECT, related_name="+", db_index=False)
    name = models.CharField(max_length=120)
    title = models.CharField(max_length=120)
    """The person's position."""
    email = models.EmailField(max_length=254)
    """Where the link was sent to."""
    purchase_order = models.CharField(max_length=30, blank=True)
    """Thirty characters: as much as an invoice can say."""
    document_sha256 = models.CharField(max_length=64)
    ip = models.GenericIPAddressField(null=True)
    at = models.DateTimeField(default=now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "revision"], name="orders_accepted_once")]

    def __str__(self) -> str:
        return f"by {self.name}"
