"""Reading orders of the scope's tenant."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from billing.ledger.stripe_books import note_tax
from billing.models import CreditNote, Invoice, StripeCommand
from kit.errors import NotFound
from kit.ids import parse_id
from orders.models import (
    Contract,
    Milestone,
    Order,
    OrderEvent,
    OrderFile,
    OrderInvoice,
    OrderTransfer,
    PurchaseOrder,
    Quote,
    QuoteRevision,
)

INVOICE, PAID_OUTSIDE = "order_invoice", "order_paid_outside"
"""Operations of the outbox to Stripe."""


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


def purchase_orders(order: Order) -> list[PurchaseOrder]:
    """Purchase orders as documents, the newest first."""
    return list(PurchaseOrder.objects.filter(order=order).order_by("-created_at", "-pk"))


def purchase_order_get(order: Order, public_id: object) -> PurchaseOrder:
    """One of them; NotFound otherwise."""
    found: PurchaseOrder | None = PurchaseOrder.objects.filter(
        order=order, pk=parse_id(PurchaseOrder.prefix, public_id)
    ).first()
    if found is None:
        raise NotFound.of(public_id)
    return found


def credited_cents(row: OrderInvoice) -> int:
    """What credit notes took off an order's invoice, before tax."""
    return _credited([row]).get(row.stripe_id, 0)


def _credited(rows: list[OrderInvoice]) -> dict[str, int]:
    notes = CreditNote.objects.filter(invoice_id__in=[row.stripe_id for row in rows if row.stripe_id], status="issued")
    sums: dict[str, int] = defaultdict(int)
    for note in notes:
        sums[note.invoice_id] += note.amount - note_tax(note.raw)
    return sums


def undecided_cents(row: OrderInvoice, mirror: Invoice | None, credited: int) -> int:
    """What an invoice asks for no more, because it was credited or the whole is void, and of which nobody said whether
    it is still owed."""
    gone = row.cents if mirror is not None and mirror.status == "void" else credited
    return gone - row.waived_cents - row.again_cents


def left_cents(mirror: Invoice) -> int:
    """What is still to be paid of an invoice."""
    return int(mirror.raw.get("amount_remaining", mirror.amount_due - mirror.amount_paid))


@dataclass(frozen=True, slots=True)
class Asked:
    """An invoice of an order as both sides see it."""

    row: OrderInvoice
    mirror: Invoice | None
    state: str
    """`sending`, `refused`, `given_up`, or what Stripe calls it once it was sent."""
    why: str
    """What Stripe refused it with."""
    credited: int
    transfer: OrderTransfer | None

    @property
    def undecided(self) -> int:
        """Cents that were credited or are void, and of which nobody said whether they are still owed."""
        return undecided_cents(self.row, self.mirror, self.credited)

    @property
    def by_transfer(self) -> bool:
        """Whether the recorded transfer is what paid it, and not a card in between."""
        if self.transfer is None or self.mirror is None or self.mirror.status != "paid":
            return False
        return bool(self.mirror.raw.get("amount_paid_off_stripe")) or not self.mirror.amount_paid

    @property
    def paid(self) -> int:
        """Cents before tax that came in for it."""
        whole = self.mirror is not None and self.mirror.status == "paid" and self.mirror.total >= self.row.cents
        return self.row.cents - self.credited if whole else 0

    @property
    def left(self) -> int:
        """Cents that are open at Stripe, with tax."""
        return left_cents(self.mirror) if self.mirror is not None and self.mirror.status == "open" else 0


def invoices(contract: Contract) -> list[Asked]:
    """What was asked for, each with what became of it."""
    rows = list(OrderInvoice.objects.filter(contract=contract).order_by("pk"))
    known = {one.stripe_id: one for one in Invoice.objects.filter(stripe_id__in=[row.stripe_id for row in rows])}
    commands = StripeCommand.objects.filter(operation=INVOICE, once__in=[str(row.pk) for row in rows])
    of_row = {command.once: command for command in commands}
    transfers = {one.invoice_id: one for one in OrderTransfer.objects.filter(invoice__in=rows)}
    credited = _credited(rows)
    found = []
    for row in rows:
        mirror = known.get(row.stripe_id) if row.stripe_id else None
        state, why = _state(row, mirror, of_row.get(str(row.pk)))
        cents = credited.get(row.stripe_id, 0) if row.stripe_id else 0
        found.append(Asked(row, mirror, state, why, cents, transfers.get(row.pk)))
    return found


def _state(row: OrderInvoice, mirror: Invoice | None, command: StripeCommand | None) -> tuple[str, str]:
    if row.stripe_id:
        return (mirror.status if mirror is not None else "open"), ""
    if command is None or command.state == StripeCommand.State.WAITING:
        return "sending", ""
    if command.state == StripeCommand.State.DROPPED:
        return "given_up", ""
    return "refused", command.error


@dataclass(frozen=True, slots=True)
class Account:
    """What an order costs and what came in, whole cents before tax."""

    total: int
    paid: int
    waived: int
    """Credited, and owed by nobody any more."""
    invoiced: int
    """Of what is owed: on open invoices."""

    @property
    def owed(self) -> int:
        """What is still to come, on invoices or later."""
        return self.total - self.waived - self.paid


def account_of(contract: Contract, asked: list[Asked]) -> Account:
    """The sums over a contract's invoices."""
    waiting = [one for one in asked if one.state in ("open", "sending", "refused")]
    return Account(
        total=contract.total_cents,
        paid=sum(one.paid for one in asked),
        waived=sum(one.row.waived_cents for one in asked),
        invoiced=sum(one.row.cents - one.credited for one in waiting),
    )


def facts_of(order: Order) -> dict[str, Any]:
    """Everything that stands around an order, for a page or an answer."""
    revision, contract = offered(order), contract_of(order)
    asked = invoices(contract) if contract else []
    return {
        "files": samples(order),
        "purchase_orders": purchase_orders(order),
        "revision": revision,
        "lines": list(revision.lines.order_by("position")) if revision else [],
        "contract": contract,
        "milestones": milestones(contract) if contract else [],
        "invoices": asked,
        "account": account_of(contract, asked) if contract else None,
    }
