"""Batches, and the pieces of their results as they come."""

import uuid

from django.db import models
from django.utils.translation import gettext_lazy as _

from data.models import File
from kit.clock import now
from tenants.models.base import ProjectModel, TenantModel


class Batch(ProjectModel):
    """A file of calls and how far they are. `validating → in_progress → finalizing → completed`; `failed` when the file
    has problems, `expired` after its window, `cancelling → cancelled`."""

    prefix = "batch_"

    class State(models.TextChoices):
        """Its life, in the wire's words."""

        VALIDATING = "validating", _("Being checked")
        IN_PROGRESS = "in_progress", _("Running")
        FINALIZING = "finalizing", _("Being finished")
        COMPLETED = "completed", _("Completed")
        FAILED = "failed", _("Failed")
        EXPIRED = "expired", _("Expired")
        CANCELLING = "cancelling", _("Being cancelled")
        CANCELLED = "cancelled", _("Cancelled")

    class Waits(models.TextChoices):
        """What a running batch waits for."""

        SPEND_LIMIT = "spend_limit", _("A spend limit is reached")
        ENGINE = "engine", _("The models do not answer, or are busy")
        ORGANISATION = "organization_suspended", _("The organisation is suspended")

    key_id = models.UUIDField(null=True)
    """The key it was made with: its lines have that key's rights and limits as they are then."""
    user_id = models.UUIDField(null=True)
    """The member who made it in the console, where there is no key."""
    created_by = models.CharField(max_length=200, blank=True)
    input_file = models.ForeignKey(File, on_delete=models.PROTECT, related_name="+", db_index=False)
    output_file = models.ForeignKey(File, on_delete=models.PROTECT, null=True, related_name="+", db_index=False)
    error_file = models.ForeignKey(File, on_delete=models.PROTECT, null=True, related_name="+", db_index=False)
    output_seconds = models.PositiveIntegerField(null=True)
    """Life of what it writes, from `output_expires_after`."""
    endpoint = models.CharField(max_length=100)
    completion_window = models.CharField(max_length=10)
    metadata = models.JSONField(null=True)
    state = models.CharField(max_length=16, choices=State, default=State.VALIDATING)
    waits_for = models.CharField(max_length=32, choices=Waits, blank=True)
    model = models.CharField(max_length=300, blank=True)
    """As the lines name it; empty until they are checked."""
    errors = models.JSONField(default=list)
    """[{"code", "line", "message", "param"}] of the file, or why it ended early."""
    codes = models.JSONField(default=dict)
    """Failed lines by code."""
    total = models.PositiveIntegerField(default=0)
    completed = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    waiting_tokens = models.BigIntegerField(default=0)
    """About how many tokens its lines hold, for the limit on what may wait."""
    input_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0)
    """Of those read: found in the engine's cache."""
    output_tokens = models.BigIntegerField(default=0)
    cost_nano = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(default=now, editable=False)
    expires_at = models.DateTimeField()
    in_progress_at = models.DateTimeField(null=True)
    finalizing_at = models.DateTimeField(null=True)
    cancelling_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    lease_token = models.UUIDField(default=uuid.uuid4)
    """Of the turn that may write; every claim draws another one."""
    lease_expires_at = models.DateTimeField(null=True)
    turns = models.PositiveIntegerField(default=0)
    served_at = models.DateTimeField(null=True)
    """When its last turn began."""
    not_before = models.DateTimeField(null=True)
    """When it is worth another turn, while it waits for something."""

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(
                    state__in=[
                        "validating",
                        "in_progress",
                        "finalizing",
                        "completed",
                        "failed",
                        "expired",
                        "cancelling",
                        "cancelled",
                    ]
                ),
                name="batches_batch_state",
            ),
            models.CheckConstraint(
                condition=models.Q(total__gte=models.F("completed") + models.F("failed")), name="batches_batch_counts"
            ),
        ]
        indexes = [
            models.Index(fields=["tenant", "project", "-id"], name="batches_batch_recent"),
            models.Index(fields=["tenant", "input_file"], name="batches_batch_file"),
            models.Index(
                fields=["tenant", "-served_at"],
                name="batches_batch_served",
                condition=models.Q(served_at__isnull=False),
            ),
            models.Index(
                fields=["served_at"],
                name="batches_batch_open",
                condition=models.Q(state__in=["validating", "in_progress", "finalizing", "cancelling"]),
            ),
        ]

    def __str__(self) -> str:
        return self.public_id

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self.state not in OPEN

    @property
    def ended_lines(self) -> int:
        """Lines that have an answer or an error."""
        return self.completed + self.failed


OPEN = (Batch.State.VALIDATING, Batch.State.IN_PROGRESS, Batch.State.FINALIZING, Batch.State.CANCELLING)
"""Batches that somebody has work with."""


CALLING = (Batch.State.VALIDATING, Batch.State.IN_PROGRESS)
"""Batches that have lines to ask, or may have."""


class Segment(TenantModel):
    """Some lines' results in one object of the store, written once. The segments of a batch are the manifest of what is
    done: a turn that begins asks no line again that is in one of them."""

    prefix = "seg_"

    class Kind(models.TextChoices):
        """Which file its lines go to."""

        OUTPUT = "output", _("Output")
        ERROR = "error", _("Errors")

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="segments", db_index=False)
    turn = models.PositiveIntegerField()
    kind = models.CharField(max_length=8, choices=Kind)
    storage_key = models.CharField(max_length=200)
    bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    lines = models.JSONField()
    """Which lines of the input, as ranges: [[first, last], …]."""
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        indexes = [models.Index(fields=["tenant", "batch"], name="batches_segment_of_batch")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.batch_id}"
