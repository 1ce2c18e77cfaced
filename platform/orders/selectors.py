"""Reading orders of the scope's tenant."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from billing.models import Invoice
from kit.errors import NotFound
from kit.ids import parse_id
from orders.models import Contract, Milestone, Order, OrderEvent, OrderFile, OrderInvoice, Quote, QuoteRevision


def orders(project_id: UUID) -> "QuerySet[Order]":
    """A project's orders."""
    found: QuerySet[Order] = Order.objects.filter(project_id=project_id)
    return found


def order_get(project_id: UUID, public_id: object) -> Order:
    """One order by its public id; NotFound for anybody else's."""
    found = orders(project_id).filter(pk=parse_id(Order.prefix, public_id)).first()
    if found is None:
        raise NotFound.of(public_id)
    return found


def timeline(order: Order) -> list[OrderEvent]:
    """Everything that happened, the newest first."""
    return list(OrderEvent.objects.filter(order=order).order_by("-at", "-pk"))


def feasibility(order: Order) -> OrderEvent | None:
    """The newest measurement of what its sample promises."""
    found: OrderEvent | None = (
        OrderEvent.objects.filter(order=order, kind="feasibility.measured").order_by("-at", "-pk").first()
    )
    return found


def samples(order: Order) -> list[OrderFile]:
    """Files shown for it, as they were shown."""
    return list(OrderFile.objects.filter(order=order).select_related("file").order_by("created_at", "pk"))


def offered(order: Order) -> QuoteRevision | None:
    """The revision that the customer may read: the newest one that was sent. Never a draft."""
    quote = Quote.objects.filter(order=order, state__in=(Quote.State.SENT, Quote.State.ACCEPTED)).first()
    if quote is None:
        return None
    found: QuoteRevision = QuoteRevision.objects.select_related("quote").get(quote=quote, number=quote.revision)
    return found


def contract_of(order: Order) -> Contract | None:
    """What was agreed, if anything was."""
    found: Contract | None = Contract.objects.select_related("acceptance").filter(order=order).first()
    return found


def milestones(contract: Contract) -> list[Milestone]:
    """In their order."""
    return list(Milestone.objects.filter(contract=contract).order_by("position"))


def milestone_get(order: Order, public_id: object) -> Milestone:
    """One milestone of an order; NotFound otherwise."""
    wanted = parse_id(Milestone.prefix, public_id)
    found = Milestone.objects.select_related("contract", "contract__order").filter(contract__order=order, pk=wanted)
    row: Milestone | None = found.first()
    if row is None:
        raise NotFound.of(public_id)
    return row


def invoices(contract: Contract) -> list[tuple[OrderInvoice, Invoice | None]]:
    """What was asked for, each with what Stripe last said of it."""
    rows = list(OrderInvoice.objects.filter(contract=contract).order_by("pk"))
    known = {one.stripe_id: one for one in Invoice.objects.filter(stripe_id__in=[row.stripe_id for row in rows])}
    return [(row, known.get(row.stripe_id)) for row in rows]


def facts_of(order: Order) -> dict[str, Any]:
    """Everything that stands around an order, for a page or an answer."""
    revision, contract = offered(order), contract_of(order)
    return {
        "files": samples(order),
        "revision": revision,
        "lines": list(revision.lines.order_by("position")) if revision else [],
        "contract": contract,
        "milestones": milestones(contract) if contract else [],
        "invoices": invoices(contract) if contract else [],
    }
