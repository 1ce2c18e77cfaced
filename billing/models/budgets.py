"""Budgets: how much of a month's cap has been promised, to the quota server in blocks and to jobs as holds."""

from django.db import models

from kit.clock import now
from tenants.models import LastingModel, ProjectModel, TenantModel


class ProjectLimits(ProjectModel):
    """What one project may do of what its organisation may do; nothing here is no limit of its own."""

    prefix = "plim_"

    limits = models.JSONField(default=dict)
    """Some of `billing.services.limits.NAMES`, each a whole number."""
    changed_at = models.DateTimeField(default=now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "project"], name="billing_project_limits_once")]

    def __str__(self) -> str:
        return str(self.project_id)


class MemberLimits(TenantModel):
    """What the keys that one person made may do together. It names the user, not the seat: keys outlive a seat that is
    taken away, and so do their limits."""

    prefix = "ulim_"

    user = models.ForeignKey("tenants.User", on_delete=models.CASCADE, related_name="+")
    limits = models.JSONField(default=dict)
    """As a project's."""
    changed_at = models.DateTimeField(default=now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "user"], name="billing_member_limits_once")]

    def __str__(self) -> str:
        return str(self.user_id)


class ModelLimits(ProjectModel):
    """What all calls of one model in one project may do together. The row stays when its limits are lifted: its id is
    the name of their counters."""

    prefix = "mlim_"

    model = models.CharField(max_length=200)
    """The name calls are metered under; an alias counts as the model it stands for."""
    limits = models.JSONField(default=dict)
    """As a project's. Money counts calls, not training."""
    changed_at = models.DateTimeField(default=now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "project", "model"], name="billing_model_limits_once")]

    def __str__(self) -> str:
        return self.model


class SpendLimit(LastingModel):
    """What an organisation allows itself to spend in a month, below its plan's limit; nothing here: the plan's. And
    from where on its calls are slowed."""

    prefix = "slim_"

    monthly_nano = models.BigIntegerField(null=True)
    slow_from_percent = models.PositiveSmallIntegerField(null=True)
    """Percent of the limit from which on calls are slowed; nothing: never."""
    changed_at = models.DateTimeField(default=now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant"], name="billing_spend_limit_once")]

    def __str__(self) -> str:
        return str(self.monthly_nano)


class Budget(LastingModel):
    """One spend limit of any scope, or the wallet. Its row is the lock for everything promised under it."""

    prefix = "bud_"

    name = models.CharField(max_length=200)
    """The limit's name at the quota server."""
    scope = models.CharField(max_length=10)
    scope_id = models.CharField(max_length=64)
    epoch = models.BigIntegerField(default=0)
    """The last epoch opened; grows for ever."""
    sending_until = models.DateTimeField(null=True)
    """Until when others leave a block that is on its way to the quota server alone; null when none is."""
    alerted = models.JSONField(default=dict)
    """The last threshold announced, with the span (a month, or since a grant of credit) and the limit it was one of."""

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "name"], name="billing_budget_once")]

    def __str__(self) -> str:
        return self.name


class BudgetLease(LastingModel):
    """One epoch of a budget at the quota server: blocks are debited here before they become spendable there.

    While `open`, and when `closed`, all of `granted_nano` counts as spent. A closed one is `reconciled` once every
    event of it must have arrived; then `spent_nano`, the sum of those events, counts.

    An epoch of no blocks was never at the server: it stands for the calls of a month before a limit was set in it.
    """

    class State(models.TextChoices):
        """Its life."""

        OPEN = "open"
        CLOSED = "closed"
        RECONCILED = "reconciled"

    budget = models.ForeignKey(Budget, on_delete=models.PROTECT, related_name="leases")
    period = models.DateField()
    """First day of the month, UTC."""
    epoch = models.BigIntegerField()
    blocks = models.BigIntegerField(default=0)
    granted_nano = models.BigIntegerField(default=0)
    spent_nano = models.BigIntegerField(default=0)
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    opened_ms = models.BigIntegerField()
    """From and to which instant of the quota server's clock its calls were admitted."""
    closed_ms = models.BigIntegerField(null=True)
    updated_at = models.DateTimeField(default=now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "budget", "epoch"], name="billing_lease_epoch_once"),
            models.UniqueConstraint(
                fields=["tenant", "budget"], condition=models.Q(state="open"), name="billing_lease_one_open"
            ),
        ]
        indexes = [
            models.Index(fields=["state", "updated_at"], name="billing_lease_state"),
            models.Index(fields=["tenant", "budget", "period"], name="billing_lease_period"),
        ]

    def __str__(self) -> str:
        return f"epoch {self.epoch}"


class JobHold(LastingModel):
    """Money held for a job from before it starts until it ends: its price ceiling, then its price."""

    class State(models.TextChoices):
        """Its life."""

        HELD = "held"
        SETTLED = "settled"
        RELEASED = "released"

    job_id = models.UUIDField()
    project_id = models.UUIDField()
    key_id = models.UUIDField(null=True)
    period = models.DateField()
    """The month whose cap carries it: the month it was held in."""
    reserved_nano = models.BigIntegerField()
    spent_nano = models.BigIntegerField(default=0)
    state = models.CharField(max_length=10, choices=State.choices, default=State.HELD)
    created_at = models.DateTimeField(default=now, editable=False)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "job_id"], name="billing_hold_once")]
        indexes = [models.Index(fields=["tenant", "period"], name="billing_hold_period")]

    def __str__(self) -> str:
        return f"{self.job_id} {self.state}"
