"""Deployments, what happened to them, and the log of what was asked of them."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from kit.clock import now
from registry.models import Model, ModelVersion
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
    attempts = models.PositiveIntegerField(default=0)
    created_by = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=now, editable=False)
    live_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "model"],
                condition=models.Q(state__in=["loading", "live"]),
                name="serving_deployment_one_active",
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
    model_state = models.CharField(max_length=32, blank=True)
    """As in the header `x-model-state`: hot, or loaded and how long that took."""
    trace_id = models.CharField(max_length=32, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["tenant", "project_id", "-at"], name="serving_request_project"),
            models.Index(fields=["tenant", "version_id", "-at"], name="serving_request_version"),
            models.Index(fields=["at"], name="serving_request_old"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.status} {self.at:%Y-%m-%dT%H:%M:%S}"
