"""The one way an order moves, and the one way something is said in its timeline.

Every step writes the state, an entry that both sides read, a line of the audit log, and an event for webhooks, in the
caller's transaction; mail follows it.
"""

from typing import Any

from hooks.catalogue import (
    ORDER_ACCEPTED,
    ORDER_CANCELLED,
    ORDER_CLOSED,
    ORDER_DECLINED,
    ORDER_DELIVERED,
    ORDER_QUOTED,
    ORDER_WORKING,
)
from hooks.services import event_publish
from kit import outbox
from kit.clock import now
from kit.errors import BadRequest
from orders import states
from orders.errors import StepRefused
from orders.models import Order, OrderEvent
from tenants import audit

MAIL = "orders.mail"
LETTERS = "orders.acceptance_letters"
ANNOUNCED = {
    states.QUOTED: ORDER_QUOTED,
    states.ACCEPTED: ORDER_ACCEPTED,
    states.WORKING: ORDER_WORKING,
    states.DELIVERED: ORDER_DELIVERED,
    states.CLOSED: ORDER_CLOSED,
    states.DECLINED: ORDER_DECLINED,
    states.CANCELLED: ORDER_CANCELLED,
}
LONGEST_TEXT = 4_000
HOUSE = "Tunesmith"
"""What the timeline calls our side: who of us it was is in the logs."""


def order_lock(order: Order) -> Order:
    """The order as it is now, held until the transaction ends."""
    row: Order = Order.objects.select_for_update(no_key=True).get(pk=order.pk)
    return row


def say(
    *,
    order: Order,
    kind: str,
    side: str,
    who: str = "",
    text: str = "",
    detail: dict[str, Any] | None = None,
    mail: bool = True,
) -> OrderEvent:
    """One entry of the timeline. The other side is told by mail unless `mail` is False."""
    made: OrderEvent = OrderEvent.objects.create(
        order=order,
        kind=kind,
        side=side,
        who=HOUSE if side == states.STAFF else who[:254],
        text=text,
        detail=detail or {},
        at=now(),
    )
    if mail:
        outbox.ring(MAIL, str(made.tenant_id), str(made.pk))
    return made


def step(
    *,
    order: Order,
    name: str,
    side: str,
    kind: str,
    who: str = "",
    text: str = "",
    detail: dict[str, Any] | None = None,
    reason: str = "",
    actor: tuple[str, str, str] | None = None,
    mail: bool = True,
) -> Order:
    """Take a step, under the order's lock. StepRefused where its state does not allow it; `reason` and `actor` go into
    the audit log alone."""
    row = order_lock(order)
    before = row.state
    if not states.allowed(before, name, side):
        said = row.get_state_display().lower()
        raise StepRefused(
            f"The order stands at '{said}', and this is not possible there. Reload it to see where it is."
        )
    row.state, row.changed_at = states.after(before, name, side), now()
    row.save(update_fields=["state", "changed_at"])
    say(order=row, kind=kind, side=side, who=who, text=text, detail=detail, mail=mail)
    audit.record(
        action=f"order.{name}",
        target=row,
        before={"state": before},
        after={"state": row.state},
        reason=reason,
        actor=actor,
    )
    if row.state != before and row.state in ANNOUNCED:
        event_publish(project_id=row.project_id, type=ANNOUNCED[row.state], data={"id": row.public_id})
    return row


def tidy(text: str, *, least: int = 1, most: int = LONGEST_TEXT, what: str, param: str) -> str:
    """A text of several lines without control characters; BadRequest when it is too short or too long."""
    kept = "\n".join("".join(c for c in line if c.isprintable()).rstrip() for line in str(text).splitlines()).strip()
    if not least <= len(kept) <= most:
        size = f"from {least:,} to {most:,}" if least else f"at most {most:,}"
        raise BadRequest(f"{what} must have {size} characters; it has {len(kept):,}.", param=param)
    return kept
