"""An order, the files it shows as samples, and its timeline.

Orders last: what was agreed is kept with the books when a closed organisation is erased. The samples are not, so an
order names its project without a reference, and files through a table that does not last.
"""

from django.db import models
from django.utils.translation import gettext_lazy as _

from data.models import File
from kit.clock import now
from orders import states
from tenants.models import LastingModel, TenantModel


class Order(LastingModel):
    """A custom model that an organisation wants made."""

    prefix = "order_"

    class State(models.TextChoices):
        """Where it stands; `orders.states` says which step leads where."""

        SUBMITTED = states.SUBMITTED, _("Brief received")
        ASSESSING = states.ASSESSING, _("Feasibility")
        QUOTING = states.QUOTING, _("Quote in preparation")
        QUOTED = states.QUOTED, _("Quote sent")
        ACCEPTED = states.ACCEPTED, _("Accepted, deposit due")
        WORKING = states.WORKING, _("In work")
        DELIVERED = states.DELIVERED, _("Delivered")
        CLOSED = states.CLOSED, _("Closed")
        DECLINED = states.DECLINED, _("Declined")
        CANCELLED = states.CANCELLED, _("Cancelled")

    class Task(models.TextChoices):
        """What the model is to do."""

        CLASSIFY = "classification", _("Sort texts into classes")
        EXTRACT = "extraction", _("Find things in texts")
        WRITE = "generation", _("Write texts")
        OTHER = "other", _("Something else")

    project_id = models.UUIDField()
    title = models.CharField(max_length=120)
    task = models.CharField(max_length=20, choices=Task)
    brief = models.TextField()
    """What it is for, in the customer's words."""
    success = models.TextField(blank=True)
    """How the customer will know that it is good."""
    calls_per_month = models.BigIntegerField(null=True)
    wanted_by = models.DateField(null=True)
    contact = models.EmailField(max_length=254)
    """Who hears of what happens."""
    state = models.CharField(max_length=12, choices=State, default=State.SUBMITTED)
    created_by = models.CharField(max_length=254, blank=True)
    created_at = models.DateTimeField(default=now, editable=False)
    changed_at = models.DateTimeField(default=now)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(state__in=list(states.EVERY)), name="orders_order_state"),
            models.CheckConstraint(
                condition=models.Q(calls_per_month__isnull=True) | models.Q(calls_per_month__gte=0),
                name="orders_order_calls",
            ),
        ]
        indexes = [
            models.Index(fields=["tenant", "project_id", "-id"], name="orders_order_recent"),
            models.Index(fields=["state", "-changed_at"], name="orders_order_by_state"),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def is_over(self) -> bool:
        """Whether nothing will come any more."""
        return self.state in states.OVER


class OrderFile(TenantModel):
    """A file shown as a sample of the data."""

    prefix = "ordfile_"

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="files", db_index=False)
    file = models.ForeignKey(File, on_delete=models.PROTECT, related_name="+", db_index=False)
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "order", "file"], name="orders_file_once")]

    def __str__(self) -> str:
        return f"{self.file_id} of {self.order_id}"


class PurchaseOrder(TenantModel):
    """A purchase order as the customer's document. Like samples it goes with a closed organisation; its name and hash
    stay in the timeline."""

    prefix = "po_"

    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="purchase_orders", db_index=False)
    filename = models.CharField(max_length=255)
    content_type = models.CharField(max_length=40)
    """What its first bytes say, and not what the sender said."""
    bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    storage_key = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        indexes = [models.Index(fields=["tenant", "order"], name="orders_po_of_order")]

    def __str__(self) -> str:
        return self.filename


class OrderEvent(LastingModel):
    """One entry of an order's timeline: both sides see the same. Only ever added."""

    prefix = "ordev_"

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="events", db_index=False)
    kind = models.CharField(max_length=40)
    """A stable code, such as `quote.sent`."""
    side = models.CharField(max_length=10)
    """`customer`, `staff` or `system`: who did it."""
    who = models.CharField(max_length=254, blank=True)
    """The customer's side names a person; ours is Tunesmith."""
    text = models.TextField(blank=True)
    """A message, or what the step was about."""
    detail = models.JSONField(default=dict)
    at = models.DateTimeField(default=now, editable=False)

    class Meta:
        indexes = [models.Index(fields=["tenant", "order", "at"], name="orders_event_of_order")]

    def __str__(self) -> str:
        return self.kind
