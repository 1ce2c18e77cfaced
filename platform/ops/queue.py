"""The queue as staff see it: every waiting job with its reason, and what would bring one forward."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.core.paginator import Paginator
from django.utils.translation import gettext_lazy as _

from ops.alerts import open_alerts
from ops.temperature import temperature
from training import states
from training.models import Job
from training.selectors.queue import Explanation, Waiting, explain, positions, waiting

MOST = 200
"""Of a page."""
KINDS = {
    0: _("urgent: before everybody"),
    1: _("within its guarantee"),
    2: _("by recent machine time"),
    3: _("on what is left"),
}
BLOCKS = {
    states.PAUSED: _("its tenant"),
    states.BUDGET: _("its price ceiling"),
    states.QUOTA: _("a spend limit"),
    states.SUSPENDED: _("the suspension of its organisation"),
    states.HOLD: _("staff"),
}
CHANGES = {
    "as_is": _("As things are"),
    "one_more_place": _("With one more place of its class"),
    "one_more_parallel_job": _("With one more parallel job in its plan"),
    "urgent": _("Called urgent"),
}
REASONS = {
    "resources": _("a place to come free"),
    "priority": _("others, whose turn is first"),
    "tenant_limit": _("one of its tenant's own jobs to end: the plan's parallel jobs are reached"),
    "not_before": _("its next try, after a fault of ours"),
    "no_workers": _("a worker: none is up"),
    "no_place": _("a worker of its class: none is up"),
}


@dataclass(frozen=True, slots=True)
class Line:
    """A waiting job."""

    job: Job
    standing: Waiting | None
    why: Any


def context(asked: str, *, page: str = "", stopped: str = "") -> dict[str, Any]:
    """Everything the queue page shows: `page` of the waiting jobs by position, and `stopped` of those that stand still;
    `asked` is the id of a job to explain."""
    place = positions()
    ids = list(Job.ops.filter(state=states.QUEUED).order_by("queued_at", "pk").values_list("pk", flat=True))
    here = Paginator(sorted(ids, key=lambda pk: place.get(pk, len(ids) + 1)), MOST).get_page(page)
    jobs = Job.ops.select_related("tenant").in_bulk(list(here))
    lines = [
        Line(job, found, REASONS.get(found.reason if found else "", ""))
        for pk in here
        if (job := jobs.get(pk)) is not None
        for found in (waiting(job),)
    ]
    blocked = Paginator(Job.ops.select_related("tenant").filter(state=states.BLOCKED).order_by("pk"), MOST)
    still = blocked.get_page(stopped)
    return {
        "alerts": open_alerts(),
        "heat": temperature(),
        "lines": lines,
        "page": here,
        "blocked": [(job, BLOCKS[job.blocked_by]) for job in still],
        "stopped": still,
        **_explained(asked),
    }


def _explained(asked: str) -> dict[str, Any]:
    try:
        job = Job.ops.select_related("tenant").filter(pk=UUID(asked)).first() if asked else None
    except ValueError:
        job = None
    if job is None:
        return {"gone": bool(asked)}
    found: Explanation | None = explain(job)
    if found is None:
        return {"asked": job}
    return {
        "asked": job,
        "found": found,
        "kind": KINDS[found.kind],
        "used": f"{max(found.score, 0) / 1000:,.0f}",
        "waited": f"{-found.score / 1000:,.0f}" if found.score < 0 else "",
        "what_if": [(CHANGES[one.change], one, REASONS.get(one.reason, "")) for one in found.what_if],
    }
