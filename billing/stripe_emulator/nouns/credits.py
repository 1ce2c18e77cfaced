"""Billing credits at work: what is left of grants, and how invoices use it up.

Credit is taken off the lines of metered prices when an invoice becomes final, after discounts and before tax.
"""

from __future__ import annotations

from billing.stripe_emulator.registry import listens
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World

GRANT = "billing.credit_grant"
TRANSACTION = "billing.credit_balance_transaction"
_KIND = "credit_balance_transaction"


def grants_of(world: World, customer: str, *, now: bool = True) -> list[Obj]:
    """Grants with something left, in the order in which they are used: priority, the soonest end, promotional before
    paid, effective first, oldest. `now` leaves those out whose time has not come."""
    found = [
        grant
        for grant in world.find(GRANT, customer=customer)
        if grant["_left"] > 0 and grant["voided_at"] is None and (not now or grant["effective_at"] <= world.now)
    ]
    # They come newest first; of two made in one second the older one is used first.
    found.reverse()
    return sorted(found, key=_order)


def _order(grant: Obj) -> tuple[int, float, bool, int, int]:
    end = grant["expires_at"] or float("inf")
    return grant["priority"], end, grant["category"] == "paid", grant["effective_at"], grant["created"]


def applies_to(grant: Obj, price: str | None) -> bool:
    """Whether a grant may pay for a metered price; None asks for any."""
    prices = grant["applicability_config"]["scope"]["prices"]
    return prices is None or price in [one["id"] for one in prices]


def transaction_make(world: World, grant: Obj, way: str, kind: str, amount: int, **details: Obj) -> Obj:
    """Move an amount (cents, above zero) into (`credit`) or out of (`debit`) a grant, and note why."""
    grant["_left"] += amount if way == "credit" else -amount
    money = {"currency": grant["amount"]["monetary"]["currency"], "value": amount}
    made = world.new(
        TRANSACTION,
        "cbtxn",
        credit_grant=grant["id"],
        effective_at=world.now,
        type=way,
        credit=None,
        debit=None,
        _customer=grant["customer"],
    )
    named = {"credits_application_invoice_voided": None} if way == "credit" else {"credits_applied": None}
    made[way] = {"amount": {"monetary": money, "type": "monetary"}, **named, "type": kind, **details}
    world.save(grant)
    return world.save(made, "billing.credit_balance_transaction.created")


def credits_apply(world: World, invoice: Obj) -> None:
    """Let the customer's credit pay what it may of an invoice that becomes final. The caller sums up again."""
    if not invoice.get("_usage"):
        return
    grants = [
        grant
        for grant in grants_of(world, invoice["customer"])
        if grant["amount"]["monetary"]["currency"] == invoice["currency"]
    ]
    for line in invoice["lines"]["data"]:
        if line["id"] not in invoice["_usage"]:
            continue
        open_sum = line["amount"] - sum(entry["amount"] for entry in line["discount_amounts"])
        for grant in grants:
            amount = min(open_sum, grant["_left"])
            if amount <= 0 or not applies_to(grant, invoice["_usage"][line["id"]]["price"]["id"]):
                continue
            details = {"credits_applied": {"invoice": invoice["id"], "invoice_line_item": line["id"]}}
            made = transaction_make(world, grant, "debit", "credits_applied", amount, **details)
            entry = {"amount": amount, _KIND: made["id"], "discount": None, "type": _KIND}
            line["pretax_credit_amounts"] = [*(line["pretax_credit_amounts"] or []), entry]
            open_sum -= amount


def credit_of(line: Obj) -> int:
    """What credit takes off a line."""
    return sum(entry["amount"] for entry in line["pretax_credit_amounts"] or [])


def credits_shown(lines: list[Obj]) -> list[Obj]:
    """The credit of an invoice's lines, as the invoice lists it."""
    return [dict(entry) for line in lines for entry in line["pretax_credit_amounts"] or []]


@listens("invoice.voided")
def credits_back(world: World, invoice: Obj) -> None:
    """Credit that a void invoice used is the customer's again."""
    for line in invoice["lines"]["data"]:
        for entry in line["pretax_credit_amounts"] or []:
            grant = world.fetch(world.fetch(entry[_KIND])["credit_grant"])
            details = {
                "credits_application_invoice_voided": {"invoice": invoice["id"], "invoice_line_item": line["id"]}
            }
            transaction_make(world, grant, "credit", "credits_application_invoice_voided", entry["amount"], **details)
