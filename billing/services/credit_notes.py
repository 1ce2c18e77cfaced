"""Taking back parts of invoices: refunds to the card, credit for the next invoices, less to pay. Staff do this."""

from billing.errors import MoreThanPaid
from billing.ledger.stripe_books import sells_credit
from billing.models import CreditNote, Invoice, StripeCommand
from billing.selectors.statements import before_payment
from billing.services.commands import command_write
from billing.services.locks import money_lock
from kit.errors import BadRequest, Conflict, NotFound
from tenants import audit
from tenants.scope import current_tenant_id

CARD, BALANCE, OPEN = "card", "balance", "open"
WAYS = (CARD, BALANCE, OPEN)


def creditable(invoice: Invoice) -> int:
    """Cents of an invoice that can still be taken back: of what was paid, or else of what is open."""
    if invoice.status == "open":
        left = int(invoice.raw.get("amount_remaining", invoice.amount_due - invoice.amount_paid))
    elif invoice.status == "paid":
        taken = CreditNote.objects.filter(invoice_id=invoice.stripe_id).exclude(status="void")
        left = invoice.amount_paid - sum(note.amount - before_payment(note) for note in taken)
    else:
        left = 0
    return max(0, left - _on_its_way(invoice))


def _on_its_way(invoice: Invoice) -> int:
    waiting = StripeCommand.objects.filter(operation="credit_note_make", params__invoice=invoice.stripe_id)
    open_ones = waiting.filter(state__in=(StripeCommand.State.WAITING, StripeCommand.State.DOUBT))
    return sum(int(params["amount"]) for params in open_ones.values_list("params", flat=True))


def credit_note_write(*, invoice_id: str, cents: int, to: str, memo: str) -> StripeCommand:
    """The command that takes back `cents` of an invoice by a credit note: `to` the card, the balance, or (of an open
    one) off what is to pay. MoreThanPaid above what can be taken back."""
    money_lock(current_tenant_id())
    invoice = Invoice.objects.filter(stripe_id=invoice_id).first()
    if invoice is None:
        raise NotFound.of(invoice_id)
    if sells_credit(invoice.raw):
        raise Conflict("This invoice is for credit. Take the credit back under Credit grants, and refund its payment.")
    if to not in WAYS:
        raise BadRequest(f"Name where it goes: {', '.join(WAYS)}.", param="to")
    if (to == OPEN) != (invoice.status == "open"):
        raise Conflict(f"The invoice is {invoice.status}: a paid one is refunded or credited, an open one lowered.")
    if cents <= 0:
        raise BadRequest("Name an amount above zero.", param="amount")
    most = creditable(invoice)
    if cents > most:
        raise MoreThanPaid(most, invoice.currency)
    params = {"invoice": invoice_id, "amount": cents, "to": to, "memo": memo[:500]}
    command = command_write("credit_note_make", params)
    audit.record(action="invoice.credited", target=invoice, after={"cents": cents, "to": to}, reason=memo)
    return command
