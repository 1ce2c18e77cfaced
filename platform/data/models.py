"""Files, uploads in parts, findings, datasets and their immutable versions."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from data.checks.codes import CODES, Code
from data.columns import CLASSIFICATION
from kit.clock import now
from tenants.models import ProjectModel, TenantModel


class Purpose(models.TextChoices):
    """What a file is for, in the wire's words."""

    FINE_TUNE = "fine-tune", _("Fine-tuning")
    EVALS = "evals", _("Evaluation")
    BATCH = "batch", _("Batches")


ERASABLE = models.Q(deleted_at__isnull=False, erased_at=None)
"""Deleted, and its bytes still there. `data.kept` says what of it can be brought back."""

RESULTS = "fine-tune-results"
"""The purpose of files that jobs write; nobody uploads one."""
BATCH_OUTPUT = "batch_output"
"""The purpose of files that batches write."""
WRITTEN = (RESULTS, BATCH_OUTPUT)


class File(ProjectModel):
    """Uploaded bytes, never changed, and what was found in them."""

    prefix = "file-"

    class Status(models.TextChoices):
        """Where processing stands."""

        UPLOADED = "uploaded", _("Being checked")
        PROCESSED = "processed", _("Checked")
        ERROR = "error", _("Cannot be read")

    filename = models.CharField(max_length=255)
    purpose = models.CharField(max_length=20, choices=Purpose)
    bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    storage_key = models.CharField(max_length=200)
    status = models.CharField(max_length=16, choices=Status, default=Status.UPLOADED)
    status_details = models.TextField(blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    """Times that processing was started; a file that keeps killing its reader is given up."""
    task = models.CharField(max_length=32, blank=True)
    """text-classification, chat or prompt-completion, as the columns say."""
    rows = models.BigIntegerField(default=0)
    levels = models.JSONField(default=dict)
    """Finding groups per level: {"blocking", "warning", "note"}."""
    source = models.JSONField(null=True)
    """How it was read: {"kind", "columns", "encoding", "delimiter", "has_header"}."""
    columns = models.JSONField(default=list)
    """Guessed roles: [{"column", "role", "confidence", "reason"}]."""
    mapping = models.JSONField(default=dict)
    """Roles chosen by a person, {"text": column, …}; empty while the guesses stand. "ignore" takes a guessed role from
    a column."""
    profile = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=now, editable=False)
    processed_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True)
    erased_at = models.DateTimeField(null=True, blank=True)
    """When the bytes of a deleted file went; until then it can be brought back."""

    class Meta:
        indexes = [
            models.Index(fields=["deleted_at"], name="data_file_kept", condition=ERASABLE),
            models.Index(fields=["tenant", "project", "-id"], name="data_file_recent"),
            models.Index(fields=["created_at"], name="data_file_waiting", condition=models.Q(status="uploaded")),
            models.Index(fields=["expires_at"], name="data_file_expiry", condition=models.Q(expires_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return self.filename

    @property
    def roles(self) -> dict[str, str]:
        """Role → column in force: the chosen ones over the guessed ones."""
        guessed = {guess["role"]: guess["column"] for guess in self.columns if guess["role"] != "ignore"}
        taken = set(self.mapping.values())
        chosen = {role: column for role, column in self.mapping.items() if role != "ignore"}
        return {role: column for role, column in guessed.items() if column not in taken} | chosen


class Finding(TenantModel):
    """One group of problems in a file: a code, how often, in which rows. Replaced as a whole when a file is re-read."""

    prefix = "finding_"

    file = models.ForeignKey(File, on_delete=models.CASCADE, related_name="findings")
    position = models.PositiveIntegerField()
    """Order of importance within the file, from 0."""
    code = models.CharField(max_length=40)
    key = models.CharField(max_length=300, blank=True)
    level = models.CharField(max_length=10)
    count = models.BigIntegerField()
    rows = models.JSONField(default=list)
    """The first row numbers, 1-based as uploaded."""
    samples = models.JSONField(default=list)
    params = models.JSONField(default=dict)
    """What fills the words of the code; see `data.checks.codes`."""

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "file", "position"], name="data_finding_place_once")]

    def __str__(self) -> str:
        return f"{self.code} ({self.count})"

    @property
    def definition(self) -> Code:
        """The registry's entry of the code."""
        return CODES[self.code]


class Upload(ProjectModel):
    """A file that arrives in parts. It has an hour."""

    prefix = "upload_"

    class Status(models.TextChoices):
        """Where it stands."""

        PENDING = "pending", _("Pending")
        COMPLETED = "completed", _("Completed")
        CANCELLED = "cancelled", _("Cancelled")
        EXPIRED = "expired", _("Expired")

    filename = models.CharField(max_length=255)
    purpose = models.CharField(max_length=20, choices=Purpose)
    bytes = models.BigIntegerField()
    mime_type = models.CharField(max_length=100)
    status = models.CharField(max_length=12, choices=Status, default=Status.PENDING)
    file = models.ForeignKey(File, on_delete=models.SET_NULL, null=True, related_name="+")
    keep_seconds = models.PositiveIntegerField(null=True)
    """Life of the file it becomes, from `expires_after`."""
    created_at = models.DateTimeField(default=now, editable=False)
    expires_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["expires_at"], name="data_upload_expiry", condition=models.Q(status="pending")),
        ]

    def __str__(self) -> str:
        return self.filename


class UploadPart(TenantModel):
    """Some of an upload's bytes."""

    prefix = "part_"

    upload = models.ForeignKey(Upload, on_delete=models.CASCADE, related_name="parts")
    bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    storage_key = models.CharField(max_length=200)
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        indexes = [models.Index(fields=["tenant", "upload"], name="data_part_of_upload")]

    def __str__(self) -> str:
        return self.public_id


class Dataset(ProjectModel):
    """A named collection with versions."""

    prefix = "ds_"

    name = models.CharField(max_length=120)
    created_at = models.DateTimeField(default=now, editable=False)
    deleted_at = models.DateTimeField(null=True, blank=True)
    erased_at = models.DateTimeField(null=True, blank=True)
    """When the rows of a deleted dataset went; until then it can be brought back."""

    class Meta:
        indexes = [
            models.Index(fields=["tenant", "project", "-id"], name="data_dataset_recent"),
            models.Index(fields=["deleted_at"], name="data_dataset_kept", condition=ERASABLE),
        ]

    def __str__(self) -> str:
        return self.name


class DatasetVersion(ProjectModel):
    """Rows fixed for ever: what was uploaded, through a plan of fixes, split with a seed. Ready ones never change
    (a trigger in the database refuses)."""

    prefix = "dsv_"

    class State(models.TextChoices):
        """Where writing stands."""

        BUILDING = "building", _("Being written")
        READY = "ready", _("Ready")
        FAILED = "failed", _("Failed")

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="versions")
    parent = models.ForeignKey("self", on_delete=models.PROTECT, null=True, related_name="children")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=10, choices=State, default=State.BUILDING)
    task = models.CharField(max_length=32, default=CLASSIFICATION)
    """What its rows are for: text-classification, chat or prompt-completion; says which columns the file has."""
    attempts = models.PositiveSmallIntegerField(default=0)
    error = models.JSONField(null=True)
    """{"code", "message"} of a failed one."""
    spec = models.JSONField()
    """What makes the rows: {"files": [{"sha256", "split", "columns"}], "fixes", "seed", "split"}; beside labelled text
    also "task"."""
    spec_sha256 = models.CharField(max_length=64)
    rows = models.BigIntegerField(default=0)
    bytes = models.BigIntegerField(default=0)
    content_sha256 = models.CharField(max_length=64, blank=True)
    """Over the rows themselves, not the Parquet bytes."""
    storage_key = models.CharField(max_length=200, blank=True)
    labels = models.JSONField(default=dict)
    """Rows per label; empty where rows have none."""
    splits = models.JSONField(default=dict)
    """Rows per split: {"train", "validation", "test"}."""
    dropped = models.JSONField(default=dict)
    """Rows left out, by reason."""
    tokens = models.BigIntegerField(null=True)
    """Tokens of all texts under the default base's tokenizer."""
    profile = models.JSONField(default=dict)
    """Lengths with percentiles, and copies that are still there, of the rows that are in it."""
    created_at = models.DateTimeField(default=now, editable=False)
    ready_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "dataset", "number"], name="data_version_number_once"),
            models.UniqueConstraint(fields=["tenant", "dataset", "spec_sha256"], name="data_version_spec_once"),
        ]
        indexes = [
            models.Index(fields=["created_at"], name="data_version_waiting", condition=models.Q(state="building")),
        ]

    def __str__(self) -> str:
        return f"{self.dataset} v{self.number}"


class VersionSource(TenantModel):
    """A file that a version was made from, in order; part of its lineage."""

    prefix = "src_"

    version = models.ForeignKey(DatasetVersion, on_delete=models.CASCADE, related_name="sources")
    file = models.ForeignKey(File, on_delete=models.PROTECT, related_name="+")
    position = models.PositiveSmallIntegerField()
    split = models.CharField(max_length=12, blank=True)
    """The side that all its rows take; empty to cut it by seed."""

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "version", "position"], name="data_source_place_once")]

    def __str__(self) -> str:
        return f"{self.version} ← {self.file}"
