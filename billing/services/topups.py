"""Automatic top-up: a member agrees once, and credit is bought whenever the balance falls below what was agreed.

One purchase at a time, and never more in a month than was agreed: both are decided under `money_lock`, by the rows. The
charge itself is a command of the outbox (`services.topup_charging`); how it ends, `services.topup_settling`.
"""

from __future__ import annotations

import datetime as dt
import uuid

from django.db.models import Q

from billing.errors import PaymentsClosed
from billing.models import AutoTopUp, TopUp, TopUpConsent
from billing.periods import month_of
from billing.selectors.topups import STALE, card_words, month_nano, tenants_low, topups_stale
from billing.selectors.wallet import balance_nano
from billing.services.commands import command_write
from billing.services.locks import money_lock
from billing.services.purchases import LEAST, MOST
from billing.services.sweeps import for_each
from billing.services.topup_settling import topup_unsent, topup_void
from billing.stripe_port import stripe_port
from kit.clock import now
from kit.errors import BadRequest, Conflict
from kit.money import CENT, NANO, written
from tenants import audit
from tenants.models import Tenant
from tenants.scope import current_tenant_id, ops_scope, tenant_scope
from tenants.selectors import tenant_current

CONSENT = (
    "The organisation's saved card may be charged for credit without asking again: the amount to buy, each time the "
    "balance falls below the balance given, up to the total given for a calendar month (UTC), until this is turned "
    "off. Each charge has an invoice."
)
"""What is agreed to, with the three amounts. It is kept with each consent, so it may change here."""
MOST_NANO = 100_000 * NANO
"""Of a balance to buy at, and of a month."""
PAYABLE = dt.timedelta(days=7)
"""For how long a refused purchase can be paid by hand."""
Actor = tuple[str, str, str]


def topup_set(
    *, below_nano: int | None, amount_nano: int | None, month_most_nano: int | None, agreed: bool, by: Actor
) -> AutoTopUp:
    """Turn automatic top-up on, or change it: below a balance buy so much, at most so much in a month (UTC). `by`:
    kind, id and label of who agreed. Where the balance is below already, credit is bought now.

    BadRequest for amounts that cannot be, or without an agreement; Conflict without a saved card.
    """
    below = _amount(below_nano, "below", "The balance to buy at", CENT)
    amount = _amount(amount_nano, "amount", "The amount to buy", LEAST, MOST)
    most = _amount(month_most_nano, "month_most", "The total of a month", LEAST)
    if most < amount:
        raise BadRequest(
            f"A month may come to {written(most)}, which is less than one purchase of {written(amount)}. Raise it, or "
            "buy less at once.",
            param="month_most",
        )
    if not agreed:
        raise BadRequest("A card is only charged by itself once you have agreed to it.", param="consent")
    stripe_port()
    money_lock(current_tenant_id())
    if not card_words():
        raise Conflict("There is no saved card. Add one under Billing, Card, address, receipts, or take a plan.")
    consent: TopUpConsent = TopUpConsent.objects.create(
        below_nano=below, amount_nano=amount, month_most_nano=most, text=CONSENT,
        by_kind=by[0], by_id=by[1][:100], by_label=by[2][:254],
    )  # fmt: skip
    row = AutoTopUp.objects.select_related("consent").first()
    before = _said(row) if row is not None else None
    row = row or AutoTopUp(tenant_id=current_tenant_id())
    row.consent, row.on, row.failed, row.changed_at = consent, True, None, now()
    row.save()
    audit.record(action="topup.set", target=row, before=before, after=_said(row) | {"consent": consent.public_id})
    _end([TopUp.State.FAILED])
    _look(row)
    return row


def _amount(nano: int | None, param: str, what: str, least: int, most: int = MOST_NANO) -> int:
    whole = isinstance(nano, int) and not isinstance(nano, bool)
    if nano is None or not whole or not least <= nano <= most or nano % CENT:
        raise BadRequest(f"{what} must be from {written(least)} to {written(most)}, in whole cents.", param=param)
    return nano


def _said(row: AutoTopUp) -> dict[str, int | bool]:
    agreed = row.consent
    return {
        "on": row.on,
        "below_nano": agreed.below_nano,
        "amount_nano": agreed.amount_nano,
        "month_most_nano": agreed.month_most_nano,
    }


def topup_stop() -> AutoTopUp | None:
    """Turn it off. What is not sent yet is not bought; an unpaid invoice of it can be paid no more."""
    money_lock(current_tenant_id())
    row: AutoTopUp | None = AutoTopUp.objects.select_related("consent").first()
    if row is None:
        return None
    was = row.on
    row.on, row.failed, row.changed_at = False, None, now()
    row.save()
    if was:
        audit.record(action="topup.stopped", target=row, before={"on": True}, after={"on": False})
    _end([TopUp.State.WAITING, TopUp.State.FAILED])
    return row


def _end(states: list[str]) -> None:
    """Give purchases up: those that were never sent, now; of the others the invoice, once Stripe has answered."""
    for topup in TopUp.objects.filter(state__in=states).order_by("created_at"):
        if not topup_unsent(topup):
            _give_up(topup)


def _give_up(topup: TopUp) -> None:
    """What was refused before it had an invoice is over now; of others the invoice is ended."""
    if topup.state == TopUp.State.FAILED and not topup.invoice_id:
        topup_void(topup)
    else:
        command_write("topup_void", {"topup": str(topup.pk)}, once=str(topup.pk))


def topup_look(*, tenant_id: uuid.UUID) -> int:
    """Buy credit if the balance is below what was agreed, nothing is on its way and the month carries it; 1 or 0. Safe
    to run twice at once."""
    with tenant_scope(tenant_id):
        money_lock(tenant_id)
        row = AutoTopUp.objects.select_related("consent").filter(on=True).first()
        return int(row is not None and _look(row))


def _look(row: AutoTopUp) -> bool:
    agreed, month = row.consent, month_of(now())
    if tenant_current().status != Tenant.Status.ACTIVE:
        return False
    payable = Q(state=TopUp.State.WAITING) | Q(state=TopUp.State.FAILED) & ~Q(invoice_id="")
    if TopUp.objects.filter(payable).exists() or balance_nano() >= agreed.below_nano:
        return False  # what can still be paid, or was a moment ago, is not bought beside it
    if month_nano(month) + agreed.amount_nano > agreed.month_most_nano:
        return False
    topup: TopUp = TopUp.objects.create(consent=agreed, amount_nano=agreed.amount_nano, month=month)
    pk = str(topup.pk)
    command_write("topup_charge", {"topup": pk}, once=pk, key=f"topup-{pk}")
    after = {"amount_nano": topup.amount_nano, "balance_below_nano": agreed.below_nano}
    audit.record(action="topup.started", target=topup, after=after, actor=audit.SYSTEM)
    return True


def topups_look_all() -> int:
    """Buy for every tenant whose balance fell; how many. Nothing without Stripe."""
    try:
        stripe_port()
    except PaymentsClosed:
        return 0
    with ops_scope("find balances to top up"):
        low = tenants_low()
    return for_each("topup_look", low, lambda tenant_id: topup_look(tenant_id=tenant_id))


def topups_tidy() -> int:
    """End the invoices of purchases that were refused a week ago and not paid by hand, or whose payment is on its way
    for so long; how many tenants."""
    with ops_scope("find top-ups that nobody paid"):
        stale = topups_stale(now() - PAYABLE)

    def tidy(tenant_id: uuid.UUID) -> int:
        with tenant_scope(tenant_id):
            money_lock(tenant_id)
            for topup in TopUp.objects.filter(STALE, changed_at__lt=now() - PAYABLE):
                _give_up(topup)
        return 1

    return for_each("topups_tidy", stale, tidy)
