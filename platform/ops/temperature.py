"""How hot the queue is: what waits against what the places can do, and whether it grows."""

import datetime as dt
import uuid
from dataclasses import dataclass

from django.db.models import DurationField, ExpressionWrapper, F, Min, OuterRef, Subquery, Sum
from django.db.models.functions import Greatest
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from kit.clock import now
from training import states
from training.models import Attempt, Job, Slot
from training.selectors.picture import STALE

LATELY = dt.timedelta(hours=1)
WARM_SECONDS, HOT_SECONDS = 600.0, 3600.0
"""Work ahead of a job that joins the queue now, shared out over all places."""
MOST = 2000


@dataclass(frozen=True, slots=True)
class Temperature:
    """The queue now, and in the last hour. Times are seconds."""

    waiting: int
    oldest: float | None
    """How long the first has waited since it last ran."""
    ahead: float | None
    """Machine time of all waiting jobs, over all places; None where there is work and no place."""
    came: int
    ended: int
    median_wait: float | None
    """Of the jobs that first started in the last hour."""

    @property
    def value(self) -> str:
        """cold, warm or hot."""
        if not self.waiting:
            return "cold"
        if self.ahead is None or self.ahead >= HOT_SECONDS:
            return "hot"
        return "warm" if self.ahead >= WARM_SECONDS else "cold"

    @property
    def words(self) -> str | Promise:
        """What it means."""
        if self.value == "cold":
            return _("Cold: a job that comes now starts soon.")
        grows = self.came > self.ended
        if self.value == "warm":
            return _("Warm, and more comes than ends.") if grows else _("Warm: it empties by itself.")
        return _("Hot, and more comes than ends: add workers.") if grows else _("Hot: it empties, but not soon.")


def temperature() -> Temperature:
    """Read in the ops scope."""
    moment = now()
    queued = Job.ops.filter(state=states.QUEUED)
    left = F("likely_seconds") * (1.0 - F("progress")) * F("width")
    facts = queued.annotate(since=waits_since()).aggregate(oldest=Min("since"), work=Sum(left))
    waiting = queued.count()
    places = Slot.objects.filter(heartbeat_at__gt=moment - STALE, draining=False, parked_at=None).count()
    work = facts["work"] or 0.0
    since = _first_id(moment - LATELY)
    starts = Attempt.ops.filter(pk__gte=since, number=1)
    wait = ExpressionWrapper(F("started_at") - F("job__created_at"), output_field=DurationField())
    waits = sorted(starts.order_by("-pk").values_list(wait, flat=True)[:MOST])
    return Temperature(
        waiting=waiting,
        oldest=(moment - facts["oldest"]).total_seconds() if facts["oldest"] else None,
        ahead=work / places if places else (None if waiting else 0.0),
        came=Job.ops.filter(pk__gte=since).count(),
        ended=Job.ops.filter(finished_at__gte=moment - LATELY).count(),
        median_wait=waits[len(waits) // 2].total_seconds() if waits else None,
    )


def waits_since() -> Greatest:
    """Since when a waiting job waits: one that ran meanwhile keeps its place in line, but has not waited all that
    time."""
    attempts = Attempt.ops.filter(tenant_id=OuterRef("tenant_id"), job_id=OuterRef("pk"))
    return Greatest("queued_at", Subquery(attempts.order_by("-number").values("ended_at")[:1]))


def _first_id(moment: dt.datetime) -> uuid.UUID:
    """No id that was made since is below: ids begin with their moment, and rows are found by them without a scan."""
    return uuid.UUID(int=int(moment.timestamp() * 1000) << 80)
