"""Jobs and the places where they train, as staff see them."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy as _

from ops import services
from ops.deeds import Deed, DeedTable
from ops.services import Staff
from ops.tables import ReadOnly
from training import states
from training.models import Attempt, Job, JobEvent, Slot

SHOWN = 20
"""Lines of a log on a job's page."""


def _on_job(act: Callable[..., None]) -> Callable[[Staff, Job, Any], None]:
    """A service that takes one job, as a deed's work."""
    return lambda by, row, form: act(tenant_id=row.tenant_id, job_id=row.pk, by=by)


class JobTable(DeedTable):
    """Fine-tuning jobs."""

    list_display = ("__str__", "public_id", "tenant", "state", "method", "attempt", "progress", "created_at")
    first = (
        "public_id",
        "tenant",
        "project",
        "state",
        "phase",
        "progress",
        "tries",
        "log",
        "error_code",
        "error_message",
        "price_nano",
        "ceiling_nano",
        "created_at",
        "queued_at",
        "started_at",
        "finished_at",
        "heartbeat_at",
    )
    list_filter = ("state", "method")
    search_fields = ("suffix", "model_name", "lease_owner", "tenant__slug")
    ordering = ("-created_at",)
    list_select_related = ("tenant",)
    deeds = (
        Deed(
            name="requeue",
            title=_("Requeue"),
            text=_(
                "A worker that holds it is fenced off; it goes on from its last checkpoint. The customer pays nothing."
            ),
            icon="replay",
            offered=lambda row: row.state in (*states.WORKING, states.QUEUED),
            work=_on_job(services.job_requeue),
        ),
        Deed(
            name="urgent",
            title=_("Make urgent"),
            text=_("It goes before every other waiting job, of whoever."),
            icon="priority_high",
            offered=lambda row: row.state == states.QUEUED and not row.is_urgent,
            work=_on_job(services.job_urgent),
        ),
        Deed(
            name="ordinary",
            title=_("Make ordinary again"),
            text=_("It takes its usual turn again, with the priority that its tenant asked for."),
            icon="low_priority",
            offered=lambda row: row.is_urgent and not row.is_final,
            work=_on_job(services.job_ordinary),
        ),
        Deed(
            name="hold",
            title=_("Hold"),
            text=_("It does not run until you release it. A worker that holds it is fenced off; its checkpoint stays."),
            icon="pause_circle",
            offered=lambda row: row.state in (*states.WORKING, states.QUEUED),
            work=_on_job(services.job_hold),
        ),
        Deed(
            name="release",
            title=_("Release"),
            text=_("It queues again where it stood."),
            icon="play_circle",
            offered=lambda row: row.blocked_by == states.HOLD,
            work=_on_job(services.job_release),
        ),
        Deed(
            name="kill",
            title=_("Stop for good"),
            text=_("It fails at once and costs nothing. The customer reads your reason."),
            icon="dangerous",
            offered=lambda row: not row.is_final,
            work=_on_job(services.job_kill),
        ),
    )

    @admin.display(description=_("Attempts"))
    def tries(self, row: Job) -> str:
        """Every try, and how it ended."""
        tries = Attempt.ops.filter(job=row).order_by("number")
        lines = (f"{one.number} · {one.worker} · {one.outcome or 'running'} {one.reason}".strip() for one in tries)
        return format_html_join(mark_safe("<br>"), "{}", ((line,) for line in lines)) or "–"

    @admin.display(description=_("Newest of the log"))
    def log(self, row: Job) -> str:
        """The newest lines the customer sees, newest first."""
        events = JobEvent.ops.filter(job=row, type="message").order_by("-seq")[:SHOWN]
        lines = ((f"{one.created_at:%H:%M:%S}", one.message) for one in events)
        return format_html_join(mark_safe("<br>"), "{} {}", lines) or "–"


class SlotTable(DeedTable):
    """Places to train."""

    list_display = ("__str__", "kind", "heartbeat_at", "draining", "parked_at", "parked_because", "job_id", "attempt")
    search_fields = ("host",)
    ordering = ("host", "number")
    deeds = (
        Deed(
            name="park",
            title=_("Drain"),
            text=_("It takes no new job until you give it back. A job that runs there runs on; requeue it to move it."),
            icon="pause_circle",
            offered=lambda row: row.parked_at is None,
            work=lambda by, row, form: services.slot_park(slot_id=row.pk, by=by),
        ),
        Deed(
            name="unpark",
            title=_("Give back"),
            text=_("It takes jobs again."),
            icon="play_circle",
            offered=lambda row: row.parked_at is not None,
            work=lambda by, row, form: services.slot_unpark(slot_id=row.pk, by=by),
        ),
    )


TABLES: dict[type[Model], type[ReadOnly]] = {
    Job: JobTable,
    Slot: SlotTable,
}
