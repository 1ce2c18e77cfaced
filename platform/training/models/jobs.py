"""Jobs, their attempts, events and checkpoints. PostgreSQL is the ledger: what is not here did not happen."""

from django.db import models
from django.db.models import Q

from kit.clock import now
from tenants.models.base import ProjectModel, TenantModel
from training import states
from training.scheduling import fairness

URGENT = 100
"""From this `priority` on a job goes before everybody's. What was asked for stays in what is above it: an urgent job
has URGENT + 2 + that, so that it can be an ordinary one again."""
SPEC_VERSION = 1
"""Of the spec that this code writes; it reads this one and earlier ones."""


class Job(ProjectModel):
    """One fine-tuning job: what was asked for, where it stands, who holds it, what it made and cost."""

    prefix = "ftjob-"

    # ── What was asked for ──
    task = models.CharField(max_length=40)
    base = models.CharField(max_length=100)
    method = models.CharField(max_length=16)
    suffix = models.CharField(max_length=64, blank=True)
    seed = models.BigIntegerField()
    hyperparameters = models.JSONField(default=dict)
    """n_epochs, batch_size, learning_rate_multiplier as they were sent; each may be "auto"."""
    columns = models.JSONField(default=dict)
    metadata = models.JSONField(null=True)
    deploy = models.BooleanField(default=False)
    training_file_id = models.UUIDField(null=True, blank=True)
    """Empty when a dataset version was named instead."""
    validation_file_id = models.UUIDField(null=True, blank=True)
    created_by = models.CharField(max_length=254, blank=True)
    """Who asked, in words; the audit log has the details."""
    key_id = models.UUIDField(null=True, blank=True)
    mail_to = models.UUIDField(null=True, blank=True)
    """The user who hears of its end by e-mail, if they are a member still."""
    mailed = models.CharField(max_length=30, blank=True, default="", db_default="")
    """What they heard last, so that they hear it once."""
    created_at = models.DateTimeField(default=now, editable=False)

    # ── What that means, frozen when it joins the queue ──
    dataset_version_id = models.UUIDField(null=True, blank=True)
    spec = models.JSONField(default=dict)
    """The lab's config without its paths, and what the supervisor needs; never changes once queued, but for the steps
    that a higher ceiling pays for."""
    spec_sha256 = models.CharField(max_length=64, blank=True)
    estimate = models.JSONField(default=dict)
    max_price_nano = models.BigIntegerField(null=True, blank=True)
    """The ceiling asked for; None leaves it to the estimate's upper end."""
    ceiling_nano = models.BigIntegerField(default=0)
    """What is reserved, and never exceeded."""
    max_runtime_seconds = models.PositiveIntegerField(default=86_400)
    likely_seconds = models.FloatField(default=60.0, db_default=60.0)
    """The middle of the estimate's time, for the queue."""

    # ── Whose trial it is ──
    sweep = models.ForeignKey(
        "training.Sweep", on_delete=models.PROTECT, null=True, blank=True, related_name="trials", db_index=False
    )
    sweep_rung = models.PositiveSmallIntegerField(null=True, blank=True)
    sweep_number = models.PositiveSmallIntegerField(null=True, blank=True)
    """Which of the sweep's settings it tries."""
    sweep_score = models.FloatField(null=True, blank=True)
    """Its best macro-F1 on the validation rows, once it has succeeded: what the sweep compares."""

    # ── What it is in the queue ──
    lane = models.CharField(max_length=12, default=fairness.STANDARD, db_default=fairness.STANDARD)
    width = models.PositiveSmallIntegerField(default=1, db_default=1)
    """Places it needs, all on one host."""
    group_key = models.CharField(max_length=80, blank=True, default="", db_default="")
    """Jobs with the same one may train in one process (docs/decisions/0026); empty: it trains alone."""
    priority = models.SmallIntegerField(default=0, db_default=0)
    """Among its tenant's jobs, the highest first; URGENT goes before everybody's and is for staff to give."""

    # ── Where it stands ──
    state = models.CharField(max_length=20, default=states.VALIDATING)
    queued_at = models.DateTimeField(null=True, blank=True)
    not_before = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    phase = models.CharField(max_length=20, blank=True)
    step = models.BigIntegerField(default=0)
    total_steps = models.BigIntegerField(default=0)
    progress = models.FloatField(default=0.0)
    eta_seconds = models.PositiveIntegerField(null=True, blank=True)
    trained_tokens = models.BigIntegerField(default=0)
    event_seq = models.BigIntegerField(default=0)

    # ── Who holds it ──
    attempt = models.PositiveIntegerField(default=0)
    lease_owner = models.CharField(max_length=120, blank=True)
    lease_token = models.UUIDField(null=True, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    preempt_requested_at = models.DateTimeField(null=True, blank=True)
    """It is to write a checkpoint and make room for a job within its guarantee."""
    preemptions = models.PositiveSmallIntegerField(default=0, db_default=0)
    pause_requested_at = models.DateTimeField(null=True, blank=True)
    stop_for = models.CharField(max_length=16, blank=True, default="", db_default="")
    """It is to write a checkpoint and be blocked by this one of `states.LIMITS`; empty to go on."""
    blocked_by = models.CharField(max_length=16, blank=True, default="", db_default="")
    """Why it is blocked: one of `states.BLOCKS`; empty when it is not."""
    platform_retries = models.PositiveIntegerField(default=0)
    crash_step = models.BigIntegerField(default=-1)
    crash_count = models.PositiveIntegerField(default=0)

    # ── What it made and cost ──
    checkpoint = models.ForeignKey(
        "training.Checkpoint", on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )
    checkpoint_step = models.BigIntegerField(default=-1)
    model_name = models.CharField(max_length=255, blank=True)
    model_version_id = models.UUIDField(null=True, blank=True)
    result_file_id = models.UUIDField(null=True, blank=True)
    price_nano = models.BigIntegerField(default=0)
    price_version = models.CharField(max_length=40, blank=True)
    error_code = models.CharField(max_length=60, blank=True)
    error_message = models.TextField(blank=True)
    error_param = models.CharField(max_length=60, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(state__in=states.ALL), name="training_job_state"),
            models.CheckConstraint(
                condition=Q(state__in=states.HELD, lease_token__isnull=False, lease_expires_at__isnull=False)
                | (~Q(state__in=states.HELD) & Q(lease_token=None)),
                name="training_job_lease_while_held",
            ),
            models.CheckConstraint(
                condition=Q(state__in=states.FINAL, finished_at__isnull=False)
                | (~Q(state__in=states.FINAL) & Q(finished_at=None)),
                name="training_job_end_has_a_time",
            ),
            models.CheckConstraint(
                condition=Q(state=states.BLOCKED, blocked_by__in=states.BLOCKS)
                | (~Q(state=states.BLOCKED) & Q(blocked_by="")),
                name="training_job_blocked_has_a_reason",
            ),
            models.CheckConstraint(condition=Q(lane__in=fairness.LANES, width__gte=1), name="training_job_line"),
            models.CheckConstraint(
                condition=Q(sweep=None, sweep_rung=None, sweep_number=None)
                | Q(sweep__isnull=False, sweep_rung__isnull=False, sweep_number__isnull=False),
                name="training_job_trial",
            ),
            models.UniqueConstraint(
                fields=["tenant", "sweep", "sweep_rung", "sweep_number"],
                name="training_job_trial_once",
                condition=Q(sweep__isnull=False),
            ),
            models.CheckConstraint(
                condition=Q(price_nano__gte=0, price_nano__lte=models.F("ceiling_nano")), name="training_job_price"
            ),
        ]
        indexes = [
            models.Index(fields=["tenant", "project", "-id"], name="training_job_project"),
            models.Index(fields=["queued_at", "id"], name="training_job_waiting", condition=Q(state=states.QUEUED)),
            models.Index(
                fields=["tenant", "lane", "width", "-priority", "queued_at", "id"],
                name="training_job_lines",
                condition=Q(state=states.QUEUED),
            ),
            models.Index(
                fields=["tenant"],
                name="training_job_preferred",
                condition=Q(state=states.QUEUED) & (Q(priority__gte=URGENT) | Q(lane=fairness.PRIORITY)),
            ),
            models.Index(
                # Not by the lease's end: a heartbeat would then write to every index.
                fields=["tenant", "lane", "width"],
                name="training_job_holding",
                condition=Q(state__in=states.HELD),
            ),
            models.Index(fields=["created_at"], name="training_job_checking", condition=Q(state=states.VALIDATING)),
            models.Index(fields=["finished_at"], name="training_job_ended", condition=Q(finished_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return self.suffix or self.public_id

    @property
    def own_priority(self) -> int:
        """What was asked for among its tenant's own jobs, also of one that staff have called urgent."""
        if self.priority < URGENT:
            return int(self.priority)
        return self.priority - URGENT - 2 if self.priority > URGENT else 0  # an older version kept nothing

    @property
    def is_urgent(self) -> bool:
        """Whether staff have called it urgent."""
        return self.priority >= URGENT

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return self.state in states.FINAL


class Attempt(TenantModel):
    """One try of a job on one worker."""

    prefix = "ftattempt-"

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="attempts", db_index=False)
    number = models.PositiveIntegerField()
    worker = models.CharField(max_length=120)
    started_at = models.DateTimeField(default=now)
    ended_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=20, blank=True)
    """Empty while it runs; then succeeded, failed, cancelled, lost, drained, preempted, paused, moved, unfit,
    unready (what it needed was not there, through no fault of its place) or crashed."""
    reason = models.CharField(max_length=500, blank=True)
    exit_code = models.IntegerField(null=True, blank=True)
    suspect = models.BooleanField(default=False, db_default=False)
    """It ended so that the job, or its host, may be to blame: it crashed, or its worker died with it alone."""
    first_step = models.BigIntegerField(default=0)
    last_step = models.BigIntegerField(default=0)
    machine_ms = models.BigIntegerField(default=0)
    charged_ms = models.BigIntegerField(default=0)
    """What its start counted in the tenant's share, until `machine_ms` is known."""

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "job", "number"], name="training_attempt_once")]
        indexes = [models.Index(fields=["ended_at"], name="training_attempt_ended")]

    def __str__(self) -> str:
        return f"{self.job_id} attempt {self.number}"


class JobEvent(TenantModel):
    """One thing that happened, in order: a message, or a point of metrics. Never changed."""

    prefix = "ftevent-"

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="events", db_index=False)
    seq = models.BigIntegerField()
    attempt = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=now, editable=False)
    level = models.CharField(max_length=5, default="info")
    type = models.CharField(max_length=8, default="message")
    code = models.CharField(max_length=40, blank=True)
    message = models.TextField()
    data = models.JSONField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "job", "seq"], name="training_event_once"),
            models.CheckConstraint(
                condition=Q(level__in=["info", "warn", "error"], type__in=["message", "metrics"]),
                name="training_event_words",
            ),
        ]

    def __str__(self) -> str:
        return self.message[:80]


class Checkpoint(TenantModel):
    """A resumable state in storage, under the prefix of the attempt that wrote it."""

    prefix = "ftckpt_"

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="checkpoints", db_index=False)
    attempt = models.PositiveIntegerField()
    step = models.BigIntegerField()
    storage_prefix = models.CharField(max_length=200)
    files = models.JSONField(default=dict)
    manifest_sha256 = models.CharField(max_length=64)
    size_bytes = models.BigIntegerField(default=0)
    metrics = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=now, editable=False)
    removed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "job", "step"], name="training_checkpoint_once")]

    def __str__(self) -> str:
        return f"step {self.step}"
