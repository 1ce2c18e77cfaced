"""Models, their versions, and the names that move between versions."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from kit.clock import now
from tenants.models.base import ProjectModel, TenantModel


class Model(ProjectModel):
    """What a project made from a base, under a name that never changes: `ft:<base>:<org>:<suffix>:<id>`."""

    prefix = "model_"

    class Serving(models.TextChoices):
        """What serving told about it last."""

        NONE = "", _("Not deployed")
        LOADING = "loading", _("Loading")
        LIVE = "live", _("Live")
        STOPPED = "stopped", _("Stopped")
        FAILED = "failed", _("Failed")

    name = models.CharField(max_length=255)
    suffix = models.CharField(max_length=64, blank=True)
    base = models.CharField(max_length=100)
    base_sha256 = models.CharField(max_length=64)
    task = models.CharField(max_length=40)
    serving = models.CharField(max_length=16, choices=Serving, default=Serving.NONE, blank=True)
    created_at = models.DateTimeField(default=now, editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "name"], name="registry_model_name_once")]
        indexes = [models.Index(fields=["tenant", "project", "-created_at"], name="registry_model_project")]

    def __str__(self) -> str:
        return self.name


class ModelVersion(TenantModel):
    """One artefact of a model: immutable files, and where they came from."""

    prefix = "mv_"

    class State(models.TextChoices):
        """Whether its files are there."""

        READY = "ready", _("Ready")
        DELETED = "deleted", _("Deleted")

    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="versions", db_index=False)
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=16, choices=State, default=State.READY)
    method = models.CharField(max_length=16)
    labels = models.JSONField(default=list)
    artefact_prefix = models.CharField(max_length=200)
    """Storage prefix; the file names of `files` follow it after a slash."""
    artefact_sha256 = models.CharField(max_length=64)
    """Hash of artefact.json, which names and hashes every other file."""
    files = models.JSONField(default=dict)
    size_bytes = models.BigIntegerField(default=0)
    metrics = models.JSONField(default=dict)
    """The few numbers a list shows: accuracy, macro_f1, ece, baseline_macro_f1, gate_passed; of a model that writes
    loss, perplexity, token_accuracy, baseline_perplexity, gate_passed."""
    report = models.JSONField(default=dict)
    job_id = models.UUIDField(null=True, blank=True)
    """The job that made it. Training stands above this room, so it is an id and no reference."""
    dataset_version_id = models.UUIDField(null=True, blank=True)
    dataset_sha256 = models.CharField(max_length=64, blank=True)
    pinned = models.BooleanField(default=False, db_default=False)
    """Whether staff keep it in the engines' memory while it is live; it ends when its deployment is stopped."""
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "model", "number"], name="registry_version_number_once"),
            models.CheckConstraint(condition=models.Q(state__in=["ready", "deleted"]), name="registry_version_state"),
        ]
        indexes = [models.Index(fields=["tenant", "job_id"], name="registry_version_job")]

    def __str__(self) -> str:
        return f"{self.model.name} v{self.number}"


class Alias(ProjectModel):
    """A movable name, `name@stage`, that stands for one version."""

    prefix = "alias_"

    name = models.CharField(max_length=64)
    stage = models.CharField(max_length=32)
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="aliases", db_index=False)
    created_at = models.DateTimeField(default=now, editable=False)
    moved_at = models.DateTimeField(default=now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "project", "name", "stage"], name="registry_alias_once")
        ]

    def __str__(self) -> str:
        return f"{self.name}@{self.stage}"
