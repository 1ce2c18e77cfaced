"""What staff count by: how subscriptions changed, what they were worth each month, what was spent to win them."""

from django.db import models

from kit.clock import now
from kit.ids import new_id
from tenants.models import HouseModel, LastingModel


class SubscriptionChange(LastingModel):
    """What a subscription became, and when; the mirror keeps only what it is. Only ever added to."""

    prefix = "subchg_"

    subscription = models.CharField(max_length=255)
    """Stripe's id."""
    at = models.DateTimeField()
    """By Stripe where it dates the change (begin, end of a trial, end), else when we saw it. Later than the change
    before."""
    status = models.CharField(max_length=30)
    """Stripe's, and `paused` also while the collection of an active one is paused."""
    plan = models.CharField(max_length=40, blank=True)
    plan_version = models.PositiveIntegerField(default=0)
    interval = models.CharField(max_length=10)
    seats = models.PositiveIntegerField(default=1)
    """How often the plan itself is paid."""
    extra_seats = models.PositiveIntegerField(default=0, db_default=0)
    """Members beyond those that the plan includes, at the price of a seat."""
    recorded_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "subscription", "at"], name="billing_subscription_change_once")
        ]
        indexes = [models.Index(fields=["at"], name="billing_subscription_changed")]

    def __str__(self) -> str:
        return f"{self.subscription} {self.status} {self.plan}"


class SubscriptionMonth(LastingModel):
    """What a tenant's plans were worth at the end of a month, at their published prices. Written once, when Stripe can
    have nothing more to say of the month; of everybody who ever had a subscription, so a month is there or is not."""

    prefix = "submon_"

    month = models.DateField()
    """First day, UTC."""
    mrr_nano = models.BigIntegerField()
    plan = models.CharField(max_length=40, blank=True)
    """Of the subscription that is worth most; with status, interval and seats of the same one."""
    plan_version = models.PositiveIntegerField(default=0)
    status = models.CharField(max_length=30)
    interval = models.CharField(max_length=10)
    seats = models.PositiveIntegerField(default=1)
    extra_seats = models.PositiveIntegerField(default=0, db_default=0)
    unpriced = models.BooleanField(default=False)
    """It counts and has no published price (a contract's, or somebody else's): nothing of it is in the sum."""
    taken_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "month"], name="billing_subscription_month_once"),
            models.CheckConstraint(condition=models.Q(mrr_nano__gte=0), name="billing_subscription_month_positive"),
        ]
        indexes = [models.Index(fields=["month"], name="billing_subscription_months")]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} {self.plan}"


class AcquisitionSpend(HouseModel):
    """What was spent to win customers, as staff entered it. Only ever added to: a mistake is taken back by an entry of
    the negative amount. Belongs to no tenant."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    month = models.DateField()
    """First day."""
    channel = models.CharField(max_length=40)
    amount_nano = models.BigIntegerField()
    entered_by = models.CharField(max_length=254)
    entered_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        indexes = [models.Index(fields=["month"], name="billing_spend_month")]
        constraints = [models.CheckConstraint(condition=~models.Q(amount_nano=0), name="billing_spend_not_zero")]

    def __str__(self) -> str:
        return f"{self.channel} {self.month:%Y-%m}"


class MachineHour(HouseModel):
    """A machine in one hour: how long it was there, how long at work, and what that cost us. Belongs to no tenant."""

    machine = models.CharField(max_length=160)
    """A place to train (`host/number`) or an engine's name."""
    machine_class = models.CharField(max_length=20)
    hour = models.DateTimeField()
    capacity_ms = models.BigIntegerField(default=0)
    busy_ms = models.BigIntegerField(default=0)
    """Of that, the time before each look that found it at work: a sample."""
    cost_nano = models.BigIntegerField(default=0)
    """Of all of its time, at the list of machine prices in force when the hour began."""
    price_version = models.CharField(max_length=40)
    looked_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["machine", "hour"], name="billing_machine_hour_once"),
            models.CheckConstraint(
                condition=models.Q(capacity_ms__gte=0, capacity_ms__lte=3_600_000, busy_ms__gte=0, cost_nano__gte=0)
                & models.Q(busy_ms__lte=models.F("capacity_ms")),
                name="billing_machine_hour_bounds",
            ),
        ]
        indexes = [models.Index(fields=["hour", "machine_class"], name="billing_machine_hours")]

    def __str__(self) -> str:
        return f"{self.machine} {self.hour:%Y-%m-%dT%H}"
