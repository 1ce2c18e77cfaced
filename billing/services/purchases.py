"""Buying credit: Stripe's page takes the money, and what was paid there is credited once. In the tenant's scope."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from billing.models import BillingCustomer, CreditGrant, StripeCommand
from billing.selectors.subscriptions import customer_current
from billing.services.commands import command_write
from billing.services.credits import credit_grant
from billing.services.locks import money_lock
from billing.services.subscriptions import customer_write
from billing.stripe_port import Json, stripe_port
from kit.clock import now
from kit.errors import BadRequest, NotFound
from kit.money import CENT, NANO, currency, written
from tenants import audit
from tenants.scope import current_tenant_id, ops_scope, tenant_scope

LEAST, MOST = 5 * NANO, 10_000 * NANO
"""Of one purchase."""
PURPOSE = "credit"
"""What marks our sessions for credit."""


def purchase_start(*, amount_nano: int | None, success_url: str, cancel_url: str) -> StripeCommand:
    """The command whose answer's `url` is where the buyer goes to pay for credit. `success_url` may hold
    `{CHECKOUT_SESSION_ID}`, for `purchase_finish`.

    BadRequest for less or more than one purchase may be, or parts of a cent.
    """
    if amount_nano is None or not LEAST <= amount_nano <= MOST or amount_nano % CENT:
        raise BadRequest(f"Buy from {written(LEAST)} to {written(MOST)} at once, in whole cents.", param="amount")
    customer_write(again=True)
    command = command_write(
        "credit_checkout",
        {
            "tenant_id": str(current_tenant_id()),
            "purpose": PURPOSE,
            "amount_cents": amount_nano // CENT,
            "success_url": success_url,
            "cancel_url": cancel_url,
        },
    )
    audit.record(action="credit.checkout", target=command, after={"amount_nano": amount_nano})
    return command


def purchase_finish(*, session_id: str) -> CreditGrant | None:
    """The buyer came back: look at once, without waiting for the webhook; the credit, if it is paid. NotFound for a
    session of somebody else."""
    customer = customer_current()
    session = stripe_port().checkout_fetch(session_id) if session_id.startswith("cs_") else None
    if customer is None or session is None or session["customer"] != customer.stripe_id:
        raise NotFound.of(session_id)
    money_lock(customer.tenant_id)
    return purchase_credit(session)


def purchase_credit(session: Json) -> CreditGrant | None:
    """Credit what a session of the tenant's customer was paid, once; None where it is for something else, unpaid, or
    not in the tenant's currency.

    Under `money_lock`.
    """
    nano = purchase_nano(session, currency())
    if not nano:
        return None
    return credit_grant(kind=CreditGrant.Kind.PREPAID, amount_nano=nano, source=session["id"], reason="Bought")


def purchase_nano(session: Json, paid_in: str) -> int:
    """The credit that was paid for on a session, in nano of a currency, its organisation's; 0 where it is for something
    else, unpaid, or paid in another one."""
    mine = session.get("mode") == "payment" and (session.get("metadata") or {}).get("purpose") == PURPOSE
    if not mine or session.get("payment_status") != "paid" or session.get("currency") != paid_in:
        return 0
    # Tax on top is the state's, not credit; a coupon takes nothing off what was bought.
    tax = (session.get("total_details") or {}).get("amount_tax") or 0
    return max(0, int(session["amount_total"]) - int(tax)) * CENT


def purchases_sweep(*, back: dt.timedelta) -> int:
    """Credit what was paid on our sessions of the last time and nobody told us of; how many."""
    credited = 0
    for session in sessions_paid(now() - back):
        with ops_scope("whose payment for credit this is"):
            owner = (
                BillingCustomer.ops.filter(stripe_id=session["customer"]).values_list("tenant_id", flat=True).first()
            )
            known = CreditGrant.ops.filter(tenant_id=owner, source=session["id"]).exists()
        if owner is None or known:
            continue
        with tenant_scope(owner):
            money_lock(owner)
            credited += purchase_credit(session) is not None
    return credited


def sessions_paid(since: dt.datetime) -> Iterator[Json]:
    """Sessions for credit, made since a moment, that were paid, in whatever currency."""
    for session in stripe_port().checkouts_since(since):
        if purchase_nano(session, session.get("currency") or ""):
            yield session
