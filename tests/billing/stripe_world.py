"""Stripe's side of invoices, credit notes, refunds and disputes, as far as money goes, and its events.

The objects have the shape of Stripe's samples; what an action does to them is written down here from Stripe's
documentation, and beside it, apart from the objects, what it does to the books.
"""

from __future__ import annotations

import copy
import itertools
import json
import secrets
import time
from collections import Counter
from typing import Any

import pytest
from django.test import Client

from billing.models import BillingCustomer, StripeEvent
from billing.services import webhooks
from billing.stripe_emulator.deliveries import signature
from billing.stripe_port import StripePort
from tenants.scope import tenant_scope
from tests.billing.emulated import SECRET
from tests.conftest import Person

Json = dict[str, Any]


class Account:
    """Every customer's objects by id: what the port fetches instead of asking Stripe."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.objects: dict[str, Json] = {}
        for name in ("invoice_fetch", "credit_note_fetch", "refund_fetch", "dispute_fetch"):
            patch.setattr(StripePort, name, lambda _, object_id: copy.deepcopy(self.objects.get(object_id)))
        patch.setattr(StripePort, "credit_note_ids", lambda _, invoice_id: self.ids("credit_note", invoice_id))

    def ids(self, kind: str, invoice_id: str) -> list[str]:
        """Ids of an invoice's objects of a kind."""
        return [o["id"] for o in self.objects.values() if o["object"] == kind and o.get("invoice") == invoice_id]


class World:
    """One customer at Stripe. `expected` counts cents by account, as each action changes them."""

    def __init__(self, account: Account, person: Person) -> None:
        self.account, self.person = account, person
        self.customer, self.balance = f"cus_{secrets.token_hex(8)}", 0
        self.currency = person.tenant.currency
        self.events: list[Json] = []
        self.expected: Counter[str] = Counter()
        self._numbers = itertools.count(1)
        with tenant_scope(person.tenant.id):
            BillingCustomer.objects.create(stripe_id=self.customer)

    def made(self, kind: str) -> list[Json]:
        """The customer's objects of a kind, oldest first."""
        return [o for o in self.account.objects.values() if o["object"] == kind and self._mine(o)]

    def invoice(
        self,
        plan: int,
        *,
        coupon: int = 0,
        on_top: int = 0,
        inside: int = 0,
        lines: list[Json] | None = None,
        currency: str = "",
    ) -> Json:
        """Issue one: cents of a plan and of a coupon on it, of tax on top or inside, and lines of usage."""
        line = {"id": "il_plan", "amount": plan, "parent": {"type": "subscription_item_details"}, "period": _PERIOD}
        usage = lines or []
        subtotal = plan + sum(one["amount"] for one in usage)
        total, before = subtotal - coupon + on_top, self.balance
        due = max(0, total + before)
        self.balance = min(0, total + before)
        taxes = [(on_top, "exclusive"), (inside, "inclusive")]
        found = {
            "id": f"in_{secrets.token_hex(8)}",
            "object": "invoice",
            "status": "open" if due else "paid",
            "customer": self.customer,
            "number": f"W-{next(self._numbers):04d}",
            "currency": currency or self.currency,
            "subtotal": subtotal,
            "total": total,
            "amount_due": due,
            "amount_paid": 0,
            "amount_remaining": due,
            "starting_balance": before,
            "ending_balance": self.balance,
            "pre_payment_credit_notes_amount": 0,
            "post_payment_credit_notes_amount": 0,
            "total_discount_amounts": [{"amount": coupon, "discount": "di_1"}] if coupon else [],
            "total_taxes": [{"amount": cents, "tax_behavior": how} for cents, how in taxes if cents],
            "attempt_count": 0,
            "period_start": 1_790_000_000,
            "period_end": 1_790_000_000,
            "created": int(time.time()),
            "status_transitions": {},
            "lines": {"data": [*([line] if plan else []), *usage], "has_more": False},
        }
        if currency in ("", self.currency):
            self._moved(
                subscription_revenue=-(plan - inside),
                discount=coupon,
                tax=-(on_top + inside),
                receivable=total + before - self.balance,
                customer_balance=self.balance - before,
                usage=-sum(one["amount"] for one in usage),
            )
        return self._save(found, "invoice.finalized")

    def pay(self, invoice: Json, cents: int, *, outside: bool = False) -> None:
        """A payment towards it: all that is left makes it paid, whatever was thought of it before."""
        invoice["amount_paid"] += cents
        invoice["amount_remaining"] -= cents
        if outside:
            invoice["amount_paid_off_stripe"] = invoice.get("amount_paid_off_stripe", 0) + cents
        self._moved(**{"bank" if outside else "cash": cents, "receivable": -cents})
        if invoice["status"] == "uncollectible":
            self._moved(bad_debt=-cents, receivable=cents)
        if not invoice["amount_remaining"]:
            invoice["status"] = "paid"
        self._save(invoice, "invoice.paid")

    def give_up(self, invoice: Json) -> None:
        """Mark it uncollectible."""
        invoice["status"] = "uncollectible"
        self._moved(bad_debt=invoice["amount_remaining"], receivable=-invoice["amount_remaining"])
        self._save(invoice, "invoice.marked_uncollectible")

    def void(self, invoice: Json) -> None:
        """Take one back of which nothing was paid."""
        left, used = invoice["amount_remaining"], invoice["ending_balance"] - invoice["starting_balance"]
        notes = [self.account.objects[note] for note in self.account.ids("credit_note", invoice["id"])]
        tax = _tax(invoice) - sum(_tax(note) for note in notes)
        if invoice["status"] == "uncollectible":
            self._moved(bad_debt=-left, receivable=left)
        self._moved(receivable=-left, customer_balance=-used, tax=tax, credit=left + used - tax)
        self.balance -= used
        invoice["status"], invoice["amount_remaining"] = "void", 0
        self._save(invoice, "invoice.voided")

    def credit(self, invoice: Json, cents: int, *, refund: int = 0, outside: int = 0, failing: bool = False) -> Json:
        """A credit note: off what is left of the invoice first; of the rest some goes back, some stays as balance."""
        before = min(cents, invoice["amount_remaining"]) if invoice["status"] == "open" else 0
        after = cents - before
        refund, outside = min(refund, after), min(outside, after - min(refund, after))
        share = _tax(invoice) * cents // invoice["total"]
        note = {
            "id": f"cn_{secrets.token_hex(8)}",
            "object": "credit_note",
            "customer": self.customer,
            "invoice": invoice["id"],
            "number": f"{invoice['number']}-CN",
            "status": "issued",
            "currency": self.currency,
            "total": cents,
            "pre_payment_amount": before,
            "post_payment_amount": after,
            "out_of_band_amount": outside or None,
            "total_taxes": [{"amount": share, "tax_behavior": "exclusive"}],
            "refunds": [],
            "created": int(time.time()),
        }
        if refund:
            given = self.refund(refund, status="failed" if failing else "succeeded")
            note["refunds"] = [{"amount_refunded": refund, "refund": given["id"]}]
        invoice["pre_payment_credit_notes_amount"] += before
        invoice["post_payment_credit_notes_amount"] += after
        invoice["amount_due"] -= before
        invoice["amount_remaining"] -= before
        if invoice["status"] == "open" and not invoice["amount_remaining"]:
            invoice["status"] = "paid"
        balance = after - refund - outside
        self.balance -= balance
        self._moved(
            credit=cents - share,
            tax=share,
            receivable=-before,
            refund=-refund,
            bank=-outside,
            customer_balance=-balance,
        )
        self._save(note, "credit_note.created")
        self._save(invoice, "invoice.updated")
        return note

    def refund(self, cents: int, *, status: str = "succeeded") -> Json:
        """Money back to the card. Like Stripe's, it names no customer; its charge does."""
        found = {"object": "refund", "status": status, "amount": cents, **self._charged("re")}
        if status != "failed":
            self._moved(refund=cents, cash=-cents)
        return self._save(found, "refund.created")

    def refund_fails(self, refund: Json) -> None:
        """The bank sends it back."""
        refund["status"] = "failed"
        self._moved(refund=-refund["amount"], cash=refund["amount"])
        self._save(refund, "refund.failed")

    def dispute(self, cents: int, *, inquiry: bool = False) -> Json:
        """A bank disputes a payment, and takes it back unless it only asks."""
        status = "warning_needs_response" if inquiry else "needs_response"
        found = {"object": "dispute", "status": status, "amount": cents, "reason": "general", **self._charged("dp")}
        if not inquiry:
            self._moved(dispute=cents, cash=-cents)
        return self._save(found, "charge.dispute.created")

    def dispute_ends(self, dispute: Json, *, won: bool) -> None:
        """The bank decides."""
        cents = dispute["amount"]
        if dispute["status"].startswith("warning"):
            dispute["status"] = "warning_closed"
        else:
            dispute["status"] = "won" if won else "lost"
            self._moved(dispute=-cents, **{"cash" if won else "bad_debt": cents})
        self._save(dispute, "charge.dispute.closed")

    def deliver(self, event: Json) -> str:
        """Through the public door, signed, then the task; its state."""
        body = json.dumps(event).encode()
        header = signature(SECRET, body, int(time.time()))
        answer = Client().post(
            "/webhooks/stripe", data=body, content_type="application/json", headers={"Stripe-Signature": header}
        )
        assert answer.status_code == 200, answer.content
        return webhooks.event_handle(StripeEvent.objects.get(event_id=event["id"]).pk)

    def _charged(self, prefix: str) -> Json:
        charge = {"id": f"ch_{secrets.token_hex(6)}", "object": "charge", "customer": self.customer}
        return {
            "id": f"{prefix}_{secrets.token_hex(8)}",
            "currency": self.currency,
            "charge": charge,
            "created": int(time.time()),
        }

    def _save(self, found: Json, event: str) -> Json:
        self.account.objects[found["id"]] = found
        told = copy.deepcopy(found)
        if isinstance(told.get("charge"), dict):
            told["charge"] = told["charge"]["id"]
        self.events.append(
            {
                "id": f"evt_{secrets.token_hex(8)}",
                "object": "event",
                "type": event,
                "created": int(time.time()),
                "data": {"object": told},
            }
        )
        return found

    def _mine(self, found: Json) -> bool:
        charge = found.get("charge")
        return self.customer in (found.get("customer"), charge["customer"] if charge else None)

    def _moved(self, **cents: int) -> None:
        for account, amount in cents.items():
            self.expected[account] += amount


def _tax(found: Json) -> int:
    return sum(tax["amount"] for tax in found["total_taxes"])


_PERIOD = {"start": 1_790_000_000, "end": 1_790_000_000}
