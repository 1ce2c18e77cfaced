"""Placing an order, showing data for it, talking about it, and ending it before anything was agreed."""

import datetime as dt
from collections.abc import Sequence

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from billing.selectors.features import CUSTOM_ORDERS, feature_needed
from data import selectors as data
from data.models import File
from kit.clock import now
from kit.errors import BadRequest, Conflict
from orders import states
from orders.errors import StepRefused, TooManyOrders
from orders.models import Order, OrderEvent, OrderFile
from orders.services.closing import quotes_close
from orders.services.timeline import order_lock, say, step, tidy
from tenants import audit
from tenants.models import Project
from tenants.services.organisations import tenant_turn

MOST_OPEN = 20
MOST_FILES = 20
MOST_CALLS = 10**12
LONGEST_BRIEF = 10_000
FAR = dt.timedelta(days=3_650)


def order_create(
    *,
    project: Project,
    title: str,
    task: str,
    brief: str,
    success: str = "",
    calls_per_month: int | None = None,
    wanted_by: dt.date | None = None,
    contact: str,
    file_ids: Sequence[str] = (),
    by: str = "",
) -> Order:
    """An order from its brief, with files of the project as samples. PermissionDenied where the plan has no custom
    models, TooManyOrders, and BadRequest in words for what cannot be."""
    feature_needed(CUSTOM_ORDERS)
    title = " ".join(title.split())
    if not 1 <= len(title) <= 120 or not title.isprintable():
        raise BadRequest("Give it a title of at most 120 characters.", param="title")
    if task not in Order.Task.values:
        raise BadRequest(f"The task must be one of {', '.join(Order.Task.values)}.", param="task")
    if calls_per_month is not None and not 0 <= calls_per_month <= MOST_CALLS:
        raise BadRequest(f"Calls per month must be from 0 to {MOST_CALLS:,}.", param="calls_per_month")
    if wanted_by is not None and not now().date() <= wanted_by <= now().date() + FAR:
        raise BadRequest("Choose a day from today on, within ten years.", param="wanted_by")
    try:
        validate_email(contact)
    except ValidationError as error:
        raise BadRequest("Enter an e-mail address, for example ada@example.com.", param="contact") from error
    tenant_turn()
    if Order.objects.exclude(state__in=states.OVER).count() >= MOST_OPEN:
        raise TooManyOrders(f"{MOST_OPEN} orders are open already. Cancel one that you no longer need.")
    made: Order = Order.objects.create(
        project_id=project.pk,
        title=title,
        task=task,
        brief=tidy(brief, least=20, most=LONGEST_BRIEF, what="The brief", param="brief"),
        success=tidy(success, least=0, what="What counts as good", param="success"),
        calls_per_month=calls_per_month,
        wanted_by=wanted_by,
        contact=contact.strip(),
        created_by=by[:254],
    )
    for public_id in dict.fromkeys(file_ids):
        _show(made, data.file_get(made.project_id, public_id, param="file_ids"))
    audit.record(action="order.created", target=made, after={"title": made.title, "task": made.task})
    say(order=made, kind="order.submitted", side=states.CUSTOMER, who=by)
    return made


def file_show(*, order: Order, file: File, by: str = "") -> None:
    """Show one more file as a sample. Conflict past MOST_FILES or where the order is over; twice is once."""
    row = order_lock(order)
    if row.is_over:
        raise StepRefused("The order is over. Place a new one to show data for it.")
    if _show(row, file):
        audit.record(action="order.file_shown", target=row, after={"file": file.public_id})
        detail = {"file": file.public_id, "name": file.filename}
        say(order=row, kind="order.file", side=states.CUSTOMER, who=by, detail=detail)


def _show(order: Order, file: File) -> bool:
    if OrderFile.objects.filter(order=order, file=file).exists():
        return False
    if OrderFile.objects.filter(order=order).count() >= MOST_FILES:
        raise Conflict(f"An order shows at most {MOST_FILES} files.", param="file")
    OrderFile.objects.create(order=order, file=file)
    return True


def message_send(*, order: Order, text: str, side: str, by: str = "", reason: str = "") -> OrderEvent:
    """Say something to the other side."""
    row = order_lock(order)
    said = tidy(text, what="The message", param="text")
    audit.record(action="order.message", target=row, reason=reason)
    return say(order=row, kind="message", side=side, who=by, text=said)


def order_cancel(*, order: Order, reason: str = "", by: str = "") -> Order:
    """The customer wants it no longer. StepRefused once a quote was accepted: then the contract says how it ends."""
    said = tidy(reason, least=0, most=1_000, what="The reason", param="reason")
    row = step(order=order, name="cancel", side=states.CUSTOMER, kind="order.cancelled", who=by, text=said)
    quotes_close(order=row)
    return row


def order_assess(*, order: Order, reason: str) -> Order:
    """Staff look whether it can be done."""
    return step(order=order, name="assess", side=states.STAFF, kind="order.assessing", reason=reason)


def order_decline(*, order: Order, text: str, reason: str) -> Order:
    """Staff do not take it; `text` tells the customer why."""
    said = tidy(text, what="What the customer reads", param="text")
    row = step(order=order, name="decline", side=states.STAFF, kind="order.declined", text=said, reason=reason)
    quotes_close(order=row)
    return row
