"""Support: what an organisation asks and staff answer."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from customers import limits, states
from kit.clock import now
from tenants.models import TenantModel


class Thread(TenantModel):
    """One question and what follows. Every member of the organisation can read it."""

    prefix = "sup_"

    class State(models.TextChoices):
        """Who is to write next; see `customers.states`."""

        OPEN = states.OPEN, _("Open")
        WAITING = states.WAITING, _("Answered")
        SOLVED = states.SOLVED, _("Solved")
        REOPENED = states.REOPENED, _("Reopened")

    subject = models.CharField(max_length=limits.SUBJECT)
    state = models.CharField(max_length=16, choices=State, default=State.OPEN)
    opened_by = models.ForeignKey("tenants.User", on_delete=models.SET_NULL, null=True, related_name="+")
    opened_label = models.CharField(max_length=254)
    created_at = models.DateTimeField(default=now, editable=False)
    asked_at = models.DateTimeField(default=now)
    """When a member wrote last."""
    answered_at = models.DateTimeField(null=True, blank=True)
    """When staff wrote last."""
    moved_at = models.DateTimeField(default=now)
    """When anything happened last; lists go by it."""
    staff_seen_at = models.DateTimeField(null=True, blank=True)
    """When any member of staff had the thread open last."""

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(state__in=states.STATES), name="customers_thread_state")
        ]
        indexes = [
            models.Index(fields=["tenant", "-moved_at"], name="customers_thread_recent"),
            models.Index(fields=["state", "moved_at"], name="customers_thread_desk"),
        ]

    def __str__(self) -> str:
        return self.subject

    @property
    def waits_for_staff(self) -> bool:
        """Whether staff are to write next."""
        return self.state in states.FOR_STAFF

    @property
    def is_news_to_staff(self) -> bool:
        """Whether a member wrote since staff last looked."""
        return self.staff_seen_at is None or self.staff_seen_at < self.asked_at


class Message(TenantModel):
    """What one person wrote. Never changed."""

    prefix = "msg_"

    class Side(models.TextChoices):
        """Who wrote."""

        CUSTOMER = "customer", _("Customer")
        STAFF = "staff", _("Support")

    thread = models.ForeignKey(Thread, on_delete=models.CASCADE, related_name="messages", db_index=False)
    side = models.CharField(max_length=16, choices=Side)
    author = models.ForeignKey("tenants.User", on_delete=models.SET_NULL, null=True, related_name="+")
    author_label = models.CharField(max_length=254)
    """As the other side sees them: a member's e-mail, the name of a member of staff."""
    text = models.TextField()
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        indexes = [models.Index(fields=["tenant", "thread", "created_at"], name="customers_message_order")]

    def __str__(self) -> str:
        return self.public_id


class Attachment(TenantModel):
    """A file that came with a message."""

    prefix = "att_"

    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="attachments")
    filename = models.CharField(max_length=255)
    bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    storage_key = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=now, editable=False)

    def __str__(self) -> str:
        return self.filename


class Seen(TenantModel):
    """When a member had a thread open last."""

    thread = models.ForeignKey(Thread, on_delete=models.CASCADE, related_name="+", db_index=False)
    user = models.ForeignKey("tenants.User", on_delete=models.CASCADE, related_name="+")
    at = models.DateTimeField(default=now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "thread", "user"], name="customers_seen_once")]

    def __str__(self) -> str:
        return f"seen at {self.at}"
