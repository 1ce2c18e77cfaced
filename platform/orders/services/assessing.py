"""Measuring what a data sample promises, at the house's cost: no job, no line on anybody's bill.

Staff ask; a worker reads the sample in a process of its own and writes what it found into the timeline.
"""

from typing import Any
from uuid import UUID

from data import reader
from data.models import File
from kit import outbox, storage
from kit.errors import BadRequest, Conflict
from orders import states
from orders.errors import StepRefused
from orders.feasibility import FURTHEST, expected
from orders.models import Order, OrderEvent, OrderFile
from orders.services.timeline import order_lock, say
from tenants import audit
from tenants.scope import tenant_scope

MEASURE = "orders.measure"
KIND, REFUSED = "feasibility.measured", "feasibility.refused"
MOST_ROWS = 10_000_000


def feasibility_ask(*, order: Order, rows: int, reason: str = "") -> OrderFile:
    """Ring for a measurement of the newest checked sample, with the range at `rows` rows of such data. Conflict where
    there is none; StepRefused once a quote was accepted."""
    row = order_lock(order)
    if row.state not in states.BEFORE_CONTRACT:
        raise StepRefused("Feasibility is measured before a quote is accepted.")
    if not 1 <= rows <= MOST_ROWS:
        raise BadRequest(f"Rows must be from 1 to {MOST_ROWS:,}.", param="rows")
    ready = OrderFile.objects.filter(
        order=row, file__status=File.Status.PROCESSED, file__deleted_at=None, file__task="text-classification"
    )
    shown: OrderFile | None = ready.select_related("file").order_by("-created_at").first()
    if shown is None:
        raise Conflict("No sample with texts and labels is ready. Ask for one, or wait until it is checked.")
    outbox.ring(MEASURE, str(row.tenant_id), str(shown.pk), rows, queue="ingest")
    audit.record(action="order.feasibility", target=row, after={"file": shown.file.public_id}, reason=reason)
    return shown


def feasibility_measure(*, tenant_id: UUID, shown_id: UUID, rows: int) -> str:
    """Measure and say so; the entry's kind. Not in a scope. Twice gives one entry, for the same sample and rows."""
    with tenant_scope(tenant_id):
        shown = OrderFile.objects.select_related("order", "file").filter(pk=shown_id, file__deleted_at=None).first()
        if shown is None or _said(shown, rows):
            return ""
    request = {"mapping": shown.file.mapping or None}
    try:
        with storage.local_path(shown.file.storage_key) as path:
            found = reader.run("orders.measuring", request | {"path": str(path)})
    except FileNotFoundError:
        return ""
    except reader.ReaderDied as died:
        found = {"refused": f"The sample could not be measured: {died}."}
    with tenant_scope(tenant_id):
        order = order_lock(shown.order)
        if _said(shown, rows):
            return ""
        kind, detail = _told(found, rows)
        detail |= {"file": shown.file.public_id, "name": shown.file.filename, "asked": rows}
        say(order=order, kind=kind, side=states.STAFF, detail=detail)
        return kind


def _said(shown: OrderFile, rows: int) -> bool:
    told = OrderEvent.objects.filter(order=shown.order, kind__in=(KIND, REFUSED))
    return bool(told.filter(detail__file=shown.file.public_id, detail__asked=rows).exists())


def _told(found: dict[str, Any], rows: int) -> tuple[str, dict[str, Any]]:
    if "refused" in found:
        return REFUSED, {"why": found["refused"]}
    measured = {point["rows"]: point["values"] for point in found["points"]}
    most = FURTHEST * max(measured)
    range_ = expected(measured, min(rows, most))
    return KIND, {
        **found,
        "expected": {"rows": range_.rows, "value": range_.value, "low": range_.low, "high": range_.high},
        "shortened": rows > most,
    }
