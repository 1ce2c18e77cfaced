"""What Stripe's objects mean in the ledger. Pure: from an object, as it was fetched, to what the accounts must hold
because of it.

Each function gives a position, account -> nano (debits positive), that sums to zero. It depends on the object's present
state and on the currency of the organisation's books alone, and not on how it came there: whoever books compares it
with what is booked, and writes the difference. So news may come twice, late or in any order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from billing.models.ledger import Account
from kit.money import CENT

Json = Mapping[str, Any]
Position = dict[str, int]

ISSUED = ("open", "paid", "uncollectible", "void")
"""States of an invoice that asks for money, or did."""
REFUNDED = ("succeeded", "pending")
"""States of a refund whose money has left us; in any other it has not, or has come back."""
WITHDRAWN = ("needs_response", "under_review", "appeal_needs_response", "appeal_under_review")
"""States of a dispute in which the bank holds the money."""
INQUIRIES = ("warning_needs_response", "warning_under_review")
RUNNING = (*WITHDRAWN, *INQUIRIES)
"""States of a dispute that is not over."""
HARMLESS = (*INQUIRIES, "won", "prevented", "warning_closed")
"""States of a dispute in which the money is ours: an inquiry takes none."""


TOPUP = "credit_topup"
"""The `purpose` in the metadata of our invoices for credit."""


class NotBookable(ValueError):
    """Nothing may be booked for an object; the message is for staff."""


@dataclasses.dataclass(frozen=True, slots=True)
class UsageOn:
    """Usage on an invoice, which was owed and earned when its month closed: the exact nano of then, the whole
    cents the invoice asks for, and the cents of tax that are inside them."""

    exact_nano: int = 0
    cents: int = 0
    inclusive_tax: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class InvoiceSums:
    """An invoice in cents: what it was issued for, and how much of that is settled."""

    status: str
    subtotal: int
    discount: int
    tax_on_top: int
    tax_inside: int
    total: int
    balance: int
    """What the customer's balance changed of it: negative where credit was used, positive where credit was left."""
    noted: int
    """Taken off by credit notes before it was paid."""
    paid: int
    outside: int
    """Of `paid`, what went past Stripe (bank transfer, cheque)."""

    @property
    def tax(self) -> int:
        """All tax it asks for."""
        return self.tax_on_top + self.tax_inside

    @property
    def owed(self) -> int:
        """What is to be paid in the end."""
        return self.total + self.balance - self.noted

    @property
    def left(self) -> int:
        """What of that is not paid."""
        return max(0, self.owed - self.paid)

    def tax_given_up(self, tax_noted: int) -> int:
        """Tax that is owed to nobody any more since the invoice is void; `tax_noted` went with credit notes before."""
        if self.status != "void" or not self.left:
            return 0
        undone = self.left - min(0, self.balance)
        return (self.tax - tax_noted) * undone // (undone + self.paid)


def in_its_currency(found: Json, currency: str) -> None:
    """Raise NotBookable for an object in another currency than its organisation's: the ledger counts that one, and
    cents of others are not its."""
    told = str(found.get("currency") or "").lower()
    if told != currency:
        raise NotBookable(
            f"It is in {told.upper() or 'no currency'}, and this organisation pays in {currency.upper()}: its books "
            "are kept in that. Nothing is booked."
        )


def invoice_sums(found: Json, currency: str) -> InvoiceSums:
    """Read an invoice's amounts; NotBookable when it is not in the organisation's `currency`, or they do not add up to
    its total."""
    in_its_currency(found, currency)
    taxes = found.get("total_taxes") or []
    inside = sum(tax["amount"] for tax in taxes if tax.get("tax_behavior") == "inclusive")
    on_top = sum(tax["amount"] for tax in taxes) - inside
    discount = sum(entry["amount"] for entry in found.get("total_discount_amounts") or [])
    discount += sum(
        entry["amount"]
        for entry in found.get("total_pretax_credit_amounts") or []
        if entry.get("type") == "credit_balance_transaction"
    )
    total = found["total"]
    subtotal = found.get("subtotal", total + discount - on_top)
    if total != subtotal - discount + on_top:
        raise NotBookable(
            f"Its total of {total} cents is not its lines ({subtotal}) less discounts ({discount}) with tax ({on_top})."
        )
    noted, paid = found.get("pre_payment_credit_notes_amount") or 0, found.get("amount_paid") or 0
    start, end = found.get("starting_balance"), found.get("ending_balance")
    if start is None or end is None:
        balance = found["amount_due"] + noted - total
    else:
        balance = start - end
    outside = found.get("amount_paid_off_stripe") or 0
    owed = total + balance - noted
    if found["status"] == "paid" and paid < owed:  # marked as paid, and Stripe saw nothing of it
        outside, paid = outside + owed - paid, owed
    return InvoiceSums(
        found["status"], subtotal, discount, on_top, inside, total, balance, noted, paid, min(outside, paid)
    )


def sells_credit(found: Json) -> bool:
    """Whether an invoice is for credit, and nothing else."""
    return bool((found.get("metadata") or {}).get("purpose") == TOPUP)


def credit_on(found: Json, sums: InvoiceSums) -> int:
    """Cents of credit that an invoice sells; tax is the state's."""
    return sums.subtotal - sums.tax_inside if sells_credit(found) else 0


def of_contract(found: Json) -> bool:
    """Whether an invoice asks for a custom model made to order: whoever writes one marks it so."""
    return bool((found.get("metadata") or {}).get("order_invoice"))


def invoice_issued(sums: InvoiceSums, usage: UsageOn, credit: int = 0, *, contract: bool = False) -> Position:
    """What an invoice asks for: plan or contract, discounts, tax, the customer's balance; usage only by what rounding
    changed. Credit on it (cents) earns nothing: it is owed to the wallet."""
    plan = sums.subtotal - usage.cents - (sums.tax_inside - usage.inclusive_tax) - credit
    return _nano(
        {
            Account.RECEIVABLE: sums.total + sums.balance,
            Account.CONTRACT_REVENUE if contract else Account.SUBSCRIPTION_REVENUE: -plan,
            Account.CREDIT_SOLD: -credit,
            Account.USAGE_REVENUE: usage.inclusive_tax,
            Account.DISCOUNT: sums.discount,
            Account.TAX: -sums.tax,
            Account.CUSTOMER_BALANCE: -sums.balance,
        },
        {Account.RECEIVABLE: -usage.exact_nano, Account.ROUNDING: usage.exact_nano - usage.cents * CENT},
    )


def invoice_paid(sums: InvoiceSums) -> Position:
    """What was paid towards it, through Stripe or past it; what is over belongs to the customer's balance."""
    over = max(0, sums.paid - sums.owed)
    return _nano(
        {
            Account.CASH: sums.paid - sums.outside,
            Account.BANK: sums.outside,
            Account.RECEIVABLE: over - sums.paid,
            Account.CUSTOMER_BALANCE: -over,
        }
    )


def invoice_lost(sums: InvoiceSums, tax_noted: int = 0, credit: int = 0) -> Position:
    """What nobody will pay: a void invoice takes tax, used balance and revenue back, an uncollectible one is a loss.
    Credit on it (cents) that is not paid for comes to no wallet, so nothing is lost."""
    if credit and sums.status == "uncollectible":
        return _nano({Account.RECEIVABLE: -sums.left, Account.CREDIT_SOLD: sums.left})
    if sums.status == "uncollectible":
        return _nano({Account.BAD_DEBT: sums.left, Account.RECEIVABLE: -sums.left})
    if sums.status != "void":
        return {}
    used, tax = -min(0, sums.balance), sums.tax_given_up(tax_noted)
    return _nano(
        {
            Account.RECEIVABLE: -sums.left,
            Account.CUSTOMER_BALANCE: -used,
            Account.TAX: tax,
            Account.CREDIT_SOLD if credit else Account.CREDIT: sums.left + used - tax,
        }
    )


def note_tax(found: Json) -> int:
    """Cents of tax that a credit note takes back."""
    return sum(tax["amount"] for tax in found.get("total_taxes") or []) if found["status"] == "issued" else 0


def credit_note(found: Json, currency: str) -> Position:
    """What a credit note takes back, and where it goes: off the open invoice, or given back by a refund (which is
    booked by itself and cleared here), to the customer's balance, or past Stripe."""
    in_its_currency(found, currency)
    if found["status"] != "issued":
        return {}
    total, tax = found["total"], note_tax(found)
    before = found.get("pre_payment_amount")
    if before is None:
        before = total if found.get("type") == "pre_payment" else 0
    refunds = sum(entry["amount_refunded"] for entry in found.get("refunds") or [])
    outside = found.get("out_of_band_amount") or 0
    balance = total - before - refunds - outside
    if balance < 0 or before < 0:
        raise NotBookable(f"It credits {total} cents and gives back {before + refunds + outside}.")
    return _nano(
        {
            Account.CREDIT: total - tax,
            Account.TAX: tax,
            Account.RECEIVABLE: -before,
            Account.REFUND: -refunds,
            Account.BANK: -outside,
            Account.CUSTOMER_BALANCE: -balance,
        }
    )


def refund(found: Json, currency: str) -> Position:
    """Money given back. It stands in REFUND until a credit note says what for."""
    in_its_currency(found, currency)
    if found["status"] not in REFUNDED:
        return {}
    return _nano({Account.REFUND: found["amount"], Account.CASH: -found["amount"]})


def dispute(found: Json, currency: str) -> Position:
    """Money that a bank took back: held while the dispute runs, a loss when it is lost, ours again when it is won."""
    in_its_currency(found, currency)
    if found["status"] in HARMLESS:
        return {}
    if found["status"] != "lost" and found["status"] not in WITHDRAWN:
        raise NotBookable(f"Its state {found['status']!r} is not known here.")
    account = Account.BAD_DEBT if found["status"] == "lost" else Account.DISPUTE
    return _nano({account: found["amount"], Account.CASH: -found["amount"]})


def credit_back(amount: int, *, by_staff: int, refunded: int, lost: int, held: int) -> Position:
    """What the accounts must hold because money of bought credit went back, all in nano: refunded, lost to a bank,
    or held by one. What staff took out of the wallet before counts towards refunds; together never more than was
    bought."""
    refunded = min(amount, refunded)
    room = max(0, amount - max(by_staff, refunded))
    refunded, lost = max(0, refunded - by_staff), min(room, lost)
    held = min(room - lost, held)
    position = {
        str(Account.PREPAID): refunded + lost + held,
        str(Account.REFUND): -refunded,
        str(Account.BAD_DEBT): -lost,
        str(Account.DISPUTE): -held,
    }
    return {account: nano for account, nano in position.items() if nano}


def difference(target: Position, booked: Position) -> Position:
    """What to book so that the accounts hold the target."""
    left = {account: target.get(account, 0) - booked.get(account, 0) for account in {*target, *booked}}
    return {account: amount for account, amount in sorted(left.items()) if amount}


def total(positions: Iterable[Position]) -> Position:
    """The sum of positions."""
    sums: Position = {}
    for position in positions:
        for account, amount in position.items():
            sums[account] = sums.get(account, 0) + amount
    return {account: amount for account, amount in sums.items() if amount}


def _nano(cents: Mapping[Account, int], nano: Mapping[Account, int] | None = None) -> Position:
    return total([{str(a): n * CENT for a, n in cents.items()}, {str(a): n for a, n in (nano or {}).items()}])
