"""Engines as they announce themselves, and those of a deployment's own."""

import msgspec
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from inference.announcement import Heartbeat
from kit.clock import now
from tenants.models.base import TenantModel


class Replica(models.Model):
    """An engine that announces itself, as it was last heard of. Belongs to no tenant; Redis knows better while it is
    there."""

    name = models.CharField(max_length=80, primary_key=True)
    address = models.CharField(max_length=200)
    pool = models.CharField(max_length=80)
    draining = models.BooleanField(default=False)
    """It finishes what it has and leaves."""
    facts = models.JSONField(default=dict)
    """The rest of its heartbeat, without the names of models."""
    seen_at = models.DateTimeField(default=now)

    class Meta:
        ordering = ["pool", "name"]

    def __str__(self) -> str:
        return self.name

    @classmethod
    def write(cls, beat: Heartbeat) -> None:
        """Keep a heartbeat."""
        facts = msgspec.to_builtins(msgspec.structs.replace(beat, residents=[]))
        told = {"address": beat.address, "pool": beat.pool, "draining": beat.draining, "seen_at": now()}
        cls.objects.update_or_create(name=beat.name, defaults={**told, "facts": facts})

    @property
    def beat(self) -> Heartbeat:
        """The heartbeat that was kept."""
        return msgspec.convert(self.facts, Heartbeat)


class Dedicated(TenantModel):
    """Engines of a deployment's own: nobody else is served by them, and it is served by no others."""

    prefix = "dedicated_"

    class Halt(models.TextChoices):
        """What keeps them from running."""

        SPEND_LIMIT = "spend_limit", _("A spend limit is reached")
        SUSPENDED = "suspended", _("The organisation is suspended")

    deployment = models.OneToOneField("serving.Deployment", on_delete=models.CASCADE, related_name="dedicated")
    replicas_min = models.PositiveSmallIntegerField(default=0)
    """0 lets the last one go after `idle_seconds` without a call; the next call waits for a new one."""
    replicas_max = models.PositiveSmallIntegerField(default=1)
    idle_seconds = models.PositiveIntegerField(default=900)
    wanted = models.PositiveSmallIntegerField(default=0)
    """What whoever starts engines is to see to."""
    scaling = models.JSONField(default=dict)
    """Since when more or fewer would be right (`serving.autoscale.Scale`)."""
    serves = models.BooleanField(default=True, db_default=True)
    """Whether calls go to them; of a deployment that was live before it had them, once the first is ready."""
    ready = models.PositiveSmallIntegerField(default=0, db_default=0)
    """How many could be asked at `looked_at`."""
    looked_at = models.DateTimeField(default=now, db_default=Now())
    """Until then their time is counted (`serving.engine_time.Meter`); whole seconds."""
    handed_to = models.DateTimeField(default=now, db_default=Now())
    """Until then it is in usage events."""
    open_seconds = models.PositiveBigIntegerField(default=0, db_default=0)
    """Engine-seconds between the two."""
    halted = models.CharField(max_length=16, choices=Halt, blank=True, default="", db_default="")
    """Why there are none, whatever is wanted; empty where nothing stands against them."""
    cold_since = models.DateTimeField(null=True, blank=True)
    """Since when the first one is being started."""
    cold_start_ms = models.PositiveBigIntegerField(null=True, blank=True)
    """How long that took the last time."""

    def __str__(self) -> str:
        return f"{self.deployment_id}: {self.wanted}"

    @property
    def pool(self) -> str:
        """What its engines call their pool."""
        return f"dep_{self.deployment_id.hex}"
