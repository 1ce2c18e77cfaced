"""Sweeps: several settings tried on the same data within one budget. Their trials are ordinary jobs."""

from django.db import models
from django.db.models import F, Q

from kit.clock import now
from tenants.models.base import ProjectModel
from training.scheduling import fairness
from training.searching.rules import ENDINGS
from training.searching.space import STRATEGIES


class Sweep(ProjectModel):
    """One search: what to try and how, what it may cost, where it stands, what won. Locked while it starts trials."""

    prefix = "sweep_"

    class State(models.TextChoices):
        """Where it stands."""

        PREPARING = "preparing"
        """Its data are read, its trials planned."""
        RUNNING = "running"
        CANCELLING = "cancelling"
        """No trial starts any more; those at work are stopping."""
        SUCCEEDED = "succeeded"
        """Over, with a winner; `ending` says whether everything planned was tried."""
        FAILED = "failed"
        """Over, and no trial made a model."""
        CANCELLED = "cancelled"

    FINAL = (State.SUCCEEDED, State.FAILED, State.CANCELLED)

    # ── What was asked for ──
    name = models.CharField(max_length=48)
    """Begins the suffix of every trial's model."""
    task = models.CharField(max_length=40)
    base = models.CharField(max_length=100)
    strategy = models.CharField(max_length=12)
    space = models.JSONField()
    """As training.searching.space reads it."""
    trials_asked = models.PositiveSmallIntegerField()
    max_epochs = models.PositiveSmallIntegerField(null=True, blank=True)
    """Passes of the last rung; None unless it halves."""
    seed = models.BigIntegerField()
    """Draws the settings, and is every trial's own."""
    parallel = models.PositiveSmallIntegerField()
    columns = models.JSONField(default=dict)
    lane = models.CharField(max_length=12, default=fairness.STANDARD)
    width = models.PositiveSmallIntegerField(default=1, db_default=1)
    """Places of one host that each trial trains on."""
    losers_deleted_at = models.DateTimeField(null=True, blank=True)
    """When its losers' models were deleted together last: they have the same moment."""
    metadata = models.JSONField(null=True)
    training_file_id = models.UUIDField(null=True, blank=True)
    validation_file_id = models.UUIDField(null=True, blank=True)
    max_price_nano = models.BigIntegerField(null=True, blank=True)
    """The budget asked for; None leaves it to the estimate's upper end."""
    created_by = models.CharField(max_length=254, blank=True)
    key_id = models.UUIDField(null=True, blank=True)
    mail_to = models.UUIDField(null=True, blank=True)
    """The user who hears of its end by e-mail, if they are a member still."""
    mailed = models.CharField(max_length=30, blank=True, default="", db_default="")
    """What they heard, so that they hear it once."""
    created_at = models.DateTimeField(default=now, editable=False)

    # ── What that means, frozen before the first trial ──
    dataset_version_id = models.UUIDField(null=True, blank=True)
    """What every trial trains and is measured on."""
    settings = models.JSONField(default=list)
    """The settings to try, in order; a trial's number is its place here."""
    rungs = models.JSONField(default=list)
    """[{"size", "epochs"}]"""
    ceilings = models.JSONField(default=list)
    """[setting][rung]: the most that a trial may cost, in nano."""
    estimate = models.JSONField(default=dict)
    budget_nano = models.BigIntegerField(default=0)
    """What all trials together may cost, and never exceed."""

    # ── Where it stands ──
    state = models.CharField(max_length=12, choices=State.choices, default=State.PREPARING)
    ending = models.CharField(max_length=12, blank=True)
    """Why it ended, one of training.searching.rules.ENDINGS; empty while it runs, and when it was cancelled or failed
    before a trial."""
    finished_at = models.DateTimeField(null=True, blank=True)
    winner = models.ForeignKey(
        "training.Job", on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )
    error_code = models.CharField(max_length=60, blank=True)
    error_message = models.TextField(blank=True)
    error_param = models.CharField(max_length=60, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["preparing", "running", "cancelling", "succeeded", "failed", "cancelled"])
                & Q(strategy__in=STRATEGIES)
                & Q(ending__in=["", *ENDINGS]),
                name="training_sweep_words",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["succeeded", "failed", "cancelled"], finished_at__isnull=False)
                | (~Q(state__in=["succeeded", "failed", "cancelled"]) & Q(finished_at=None, winner=None)),
                name="training_sweep_end_has_a_time",
            ),
            models.CheckConstraint(
                condition=~Q(state="succeeded") | Q(winner__isnull=False), name="training_sweep_success_has_a_winner"
            ),
            models.CheckConstraint(
                condition=Q(budget_nano__gte=0) & (Q(max_price_nano=None) | Q(budget_nano__lte=F("max_price_nano"))),
                name="training_sweep_budget",
            ),
        ]
        indexes = [
            models.Index(fields=["tenant", "project", "-id"], name="training_sweep_project"),
            models.Index(
                fields=["created_at"],
                name="training_sweep_open",
                condition=Q(state__in=["preparing", "running", "cancelling"]),
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return self.state in self.FINAL
