"""Deployments, the log of requests, rollouts, what happened to them, and what people said of answers."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from kit.clock import now
from registry.models import Model, ModelVersion
from serving.models.counts import FAILED, OF_ROLLOUTS, WritingTransaction
from tenants.models.base import ProjectModel, TenantModel


class Deployment(ProjectModel):
    """A model version being served, from the wish to its end. `loading -> live -> stopped`, or `failed`."""

    prefix = "dep_"

    class State(models.TextChoices):
        """Its life."""

        LOADING = "loading", _("Loading")
        LIVE = "live", _("Live")
        STOPPED = "stopped", _("Stopped")
        FAILED = "failed", _("Failed")

    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="deployments", db_index=False)
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="deployments", db_index=False)
    alias = models.CharField(max_length=100, blank=True)
    """Moved to this version when the deployment goes live; empty for none."""
    state = models.CharField(max_length=16, choices=State, default=State.LOADING)
    reason = models.CharField(max_length=500, blank=True)
    """Why it failed or was stopped, or what it waits for."""
    max_length = models.PositiveIntegerField(default=0)
    """Tokens the model reads of a text; known once it was loaded."""
    parity = models.JSONField(default=dict)
    """How close the serving path came to the training-time forward."""
    precision = models.FloatField(null=True, blank=True)
    """Answer only when at least this share of answers is right, unless a call says otherwise; None answers always."""
    attempts = models.PositiveIntegerField(default=0)
    created_by = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=now, editable=False)
    live_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    last_called_at = models.DateTimeField(null=True, blank=True)
    """When it answered last, as the request log says; written by a tick, and kept longer than the log."""
    idle_told_at = models.DateTimeField(null=True, blank=True)
    """When its owners were told that nobody calls it."""

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "version"],
                condition=models.Q(state__in=["loading", "live"]),
                name="serving_deployment_version_once",
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=["loading", "live", "stopped", "failed"]), name="serving_deployment_state"
            ),
        ]
        indexes = [
            models.Index(fields=["tenant", "project", "-created_at"], name="serving_deployment_project"),
            models.Index(fields=["state", "created_at"], name="serving_deployment_state_age"),
        ]

    def __str__(self) -> str:
        return f"{self.model} ({self.state})"


class DeploymentEvent(TenantModel):
    """One step in a deployment's life, in words."""

    prefix = "depevent_"

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="events", db_index=False)
    state = models.CharField(max_length=16)
    message = models.CharField(max_length=500)
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        indexes = [models.Index(fields=["tenant", "deployment", "created_at"], name="serving_event_deployment")]

    def __str__(self) -> str:
        return self.message


class RequestRecord(TenantModel):
    """One call of the gateway, written behind its answer; its id is the request's. No text of it is kept here.

    Project, key and version are plain values: they may be gone when the row is read.
    """

    prefix = "req_"

    project_id = models.UUIDField()
    key_id = models.UUIDField(null=True)
    at = models.DateTimeField()
    """When it came, by the gateway's clock."""
    kind = models.CharField(max_length=32)
    """What was called: classify, chat, embeddings, …"""
    model = models.CharField(max_length=200, blank=True)
    """As the caller named it; empty where the call did not get so far."""
    version_id = models.UUIDField(null=True)
    """Whose answer it was; null for a base and for a call that failed before."""
    arm = models.CharField(max_length=16, blank=True)
    """Which side of a rollout answered: stable, candidate; empty without one."""
    status = models.PositiveSmallIntegerField()
    """As sent; 499 where the client left first."""
    code = models.CharField(max_length=64, blank=True)
    """The error's code, or its type where it has none."""
    duration_ms = models.PositiveIntegerField()
    first_token_ms = models.PositiveIntegerField(default=0)
    queue_ms = models.PositiveIntegerField(default=0)
    """In the engine, before a batch took it."""
    engine_ms = models.PositiveIntegerField(default=0)
    """Its share of the engine's time."""
    items = models.PositiveIntegerField(default=0)
    """Texts, documents or prompts in it."""
    batch_rows = models.PositiveIntegerField(default=0)
    """Rows of the largest batch it was computed in."""
    input_tokens = models.PositiveIntegerField(default=0)
    output_tokens = models.PositiveIntegerField(default=0)
    cached_tokens = models.PositiveIntegerField(default=0)
    cost_nano = models.BigIntegerField(default=0)
    explained = models.BooleanField(default=False, db_default=False)
    """Whether the answer came with its reasons, which takes many readings of the text."""
    model_state = models.CharField(max_length=32, blank=True)
    """As in the header `x-model-state`: hot, or loaded and how long that took."""
    trace_id = models.CharField(max_length=32, blank=True)
    retries = models.PositiveSmallIntegerField(default=0, db_default=0)
    """How often the client had sent it before, as the official client tells."""
    written = models.BigIntegerField(db_default=WritingTransaction(), editable=False)
    """The transaction that wrote the row last: `serving.rounds` counts each row once by it."""

    class Meta:
        indexes = [
            models.Index(fields=["tenant", "project_id", "-at"], name="serving_request_project"),
            models.Index(fields=["tenant", "version_id", "-at"], name="serving_request_version"),
            models.Index(fields=["at"], name="serving_request_old"),
            models.Index(fields=["tenant", "version_id", "written"], condition=OF_ROLLOUTS, name="serving_request_arm"),
            models.Index(fields=["tenant", "version_id", "at"], condition=FAILED, name="serving_request_arm_failed"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.status} {self.at:%Y-%m-%dT%H:%M:%S}"


class Rollout(ProjectModel):
    """A change of what an alias stands for: a candidate beside the stable version, until one of them is chosen.

    `running -> promoted | rolled_back`; a promoted one can be rolled back while the old version is still live.
    """

    prefix = "rollout_"

    class Mode(models.TextChoices):
        """How the candidate is tried."""

        CANARY = "canary", _("Canary")
        AB = "ab", _("A/B test")
        SHADOW = "shadow", _("Shadow")

    class State(models.TextChoices):
        """Its life."""

        RUNNING = "running", _("Running")
        PROMOTED = "promoted", _("Promoted")
        ROLLED_BACK = "rolled_back", _("Rolled back")

    alias = models.CharField(max_length=100)
    mode = models.CharField(max_length=16, choices=Mode)
    state = models.CharField(max_length=16, choices=State, default=State.RUNNING)
    stable = models.ForeignKey(Deployment, on_delete=models.PROTECT, related_name="+", db_index=False)
    candidate = models.ForeignKey(Deployment, on_delete=models.PROTECT, related_name="+", db_index=False)
    share = models.PositiveIntegerField(default=0)
    """Of the callers, in basis points, who get the candidate; of a shadow, whose calls it is asked as well."""
    steps = models.JSONField(default=list)
    """What a canary goes through by itself: `{"share", "seconds", "calls", "feedback"}`, shares in basis points."""
    guards = models.JSONField(default=dict)
    """`auto_rollback`, `alpha`, `error_margin`, `quality_margin` and `latency_ms` (null for none)."""
    round = models.PositiveIntegerField(default=1)
    """Every change of the share begins one; only what happened within a round is compared."""
    round_at = models.DateTimeField(default=now)
    drain_seconds = models.PositiveIntegerField(null=True, blank=True)
    """How long after the promotion the old deployment is stopped; null keeps it."""
    figures = models.JSONField(default=dict)
    """Both arms' figures at the end: the log they are counted from is not kept for ever."""
    reason = models.CharField(max_length=500, blank=True)
    automatic = models.BooleanField(default=False)
    """Whether it ended by itself."""
    created_by = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=now, editable=False)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "project", "alias"],
                condition=models.Q(state="running"),
                name="serving_rollout_one_running",
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=["running", "promoted", "rolled_back"]), name="serving_rollout_state"
            ),
            models.CheckConstraint(
                condition=models.Q(mode__in=["canary", "ab", "shadow"]), name="serving_rollout_mode"
            ),
            models.CheckConstraint(condition=models.Q(share__lte=10_000), name="serving_rollout_share"),
        ]
        indexes = [
            models.Index(fields=["tenant", "project", "-created_at"], name="serving_rollout_project"),
            models.Index(fields=["state", "ended_at"], name="serving_rollout_state_end"),
        ]

    def __str__(self) -> str:
        return f"{self.alias} ({self.mode}, {self.state})"


class RolloutEvent(TenantModel):
    """One step in a rollout's life, in words, with the numbers it was decided by."""

    prefix = "rolloutevent_"

    rollout = models.ForeignKey(Rollout, on_delete=models.CASCADE, related_name="events", db_index=False)
    kind = models.CharField(max_length=16)
    message = models.CharField(max_length=500)
    numbers = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        indexes = [models.Index(fields=["tenant", "rollout", "created_at"], name="serving_rolloutevent_rollout")]

    def __str__(self) -> str:
        return self.message


class Feedback(ProjectModel):
    """Whether an answer was right, said by the project afterwards; one for each request, the latest word counts."""

    prefix = "fb_"

    request_id = models.UUIDField()
    correct = models.BooleanField()
    label = models.CharField(max_length=256, blank=True)
    """What would have been right, where that was said."""
    model = models.CharField(max_length=300)
    """The name that was called."""
    version_id = models.UUIDField(null=True, blank=True)
    """The version that answered; from the request log, which is not kept for ever."""
    arm = models.CharField(max_length=16, blank=True)
    requested_at = models.DateTimeField()
    created_by = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=now, editable=False)
    changed_at = models.DateTimeField(default=now)
    written = models.BigIntegerField(db_default=WritingTransaction(), editable=False)
    """The transaction that said it last."""
    counted = models.BooleanField(null=True, editable=False)
    """As what it is in the sums of its rollout; null while it is in none."""

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "request_id"], name="serving_feedback_request_once")]
        indexes = [
            models.Index(
                fields=["tenant", "version_id", "written"], condition=OF_ROLLOUTS, name="serving_feedback_arm"
            ),
            models.Index(fields=["tenant", "project", "-created_at"], name="serving_feedback_project"),
            models.Index(fields=["tenant", "version_id", "requested_at"], name="serving_feedback_version"),
        ]

    def __str__(self) -> str:
        return "right" if self.correct else "wrong"


class IdleRule(ProjectModel):
    """What a project does about deployments that nobody calls; without a row nothing."""

    prefix = "idlerule_"

    class Action(models.TextChoices):
        """What happens."""

        OFF = "off", _("Nothing")
        WARN = "warn", _("Tell us")
        STOP = "stop", _("Stop it and tell us")

    action = models.CharField(max_length=8, choices=Action, default=Action.OFF)
    days = models.PositiveIntegerField(default=30)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "project"], name="serving_idlerule_once"),
            models.CheckConstraint(
                condition=models.Q(action__in=["off", "warn", "stop"]), name="serving_idlerule_action"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action} after {self.days} days"


class TextKeeping(ProjectModel):
    """That a project's owners want the texts of its requests kept, for so many days. Without a row nothing is kept."""

    prefix = "textkeep_"
    MOST_DAYS = 30

    days = models.PositiveSmallIntegerField()
    changed_by = models.CharField(max_length=200, blank=True)
    changed_at = models.DateTimeField(default=now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "project"], name="serving_text_keeping_once"),
            models.CheckConstraint(condition=models.Q(days__gte=1, days__lte=30), name="serving_text_keeping_days"),
        ]

    def __str__(self) -> str:
        return f"{self.project_id} {self.days} d"


class RequestText(TenantModel):
    """What was sent and answered in one request, cut at a length; its id is the request's."""

    prefix = "req_"

    project_id = models.UUIDField()
    at = models.DateTimeField()
    input = models.TextField(blank=True)
    """The body as it was sent."""
    output = models.TextField(blank=True)
    """The answer's body, or of a stream the text of its first choice."""

    class Meta:
        indexes = [models.Index(fields=["tenant", "project_id", "at"], name="serving_request_text_project")]

    def __str__(self) -> str:
        return self.public_id
