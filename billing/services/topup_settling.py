"""How a purchase of a top-up ends: credited when its invoice is paid, or refused, which turns automatic top-up off.

In the tenant's scope, under `money_lock`.
"""

from __future__ import annotations

import logging
import uuid

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.utils.translation import gettext as _

from billing.ledger.stripe_books import NotBookable, credit_on, invoice_sums, sells_credit
from billing.models import Account, AutoTopUp, CreditGrant, Invoice, StripeCommand, TopUp
from billing.services.credits import credit_grant
from billing.services.locks import money_lock
from billing.services.operation import NOT_NEEDED
from hooks.catalogue import WALLET_TOPPED_UP, WALLET_TOPUP_FAILED
from hooks.services import event_publish, projects_listening
from kit.clock import now
from kit.money import CENT, currency, written
from tenants import audit
from tenants.models import Member, Role
from tenants.scope import current_tenant_id
from tenants.selectors import tenant_current

logger = logging.getLogger(__name__)

TOLD = (Role.OWNER, Role.ADMIN, Role.BILLING)
State = TopUp.State
Reason = TopUp.Reason


def invoice_settle(row: Invoice) -> CreditGrant | None:
    """What follows from an invoice as it was just fetched, where it is for credit: paid, it is in the wallet, once."""
    if not sells_credit(row.raw):
        return None
    topup = _topup_of(row)
    if row.status == "void" and topup is not None and topup.state in (State.WAITING, State.FAILED):
        _move(topup, State.VOID, invoice_id=row.stripe_id)
    if row.status != "paid":
        return None
    try:
        cents = credit_on(row.raw, invoice_sums(row.raw, currency()))
    except NotBookable as problem:  # staff see it where it cannot be booked
        logger.error("invoice %s is paid and gives no credit: %s", row.stripe_id, problem)
        return None
    grant = credit_grant(
        kind=CreditGrant.Kind.PREPAID,
        amount_nano=cents * CENT,
        source=row.stripe_id,
        reason="Topped up",
        came_from=Account.CREDIT_SOLD,
        actor=audit.SYSTEM,
    )
    if topup is not None and topup.state != State.PAID:
        _move(topup, State.PAID, invoice_id=row.stripe_id)
        _resume(topup)
        for project_id in projects_listening(WALLET_TOPPED_UP):
            event_publish(project_id=project_id, type=WALLET_TOPPED_UP, data={"id": topup.public_id})
    return grant


def _topup_of(row: Invoice) -> TopUp | None:
    try:
        pk = uuid.UUID((row.raw.get("metadata") or {}).get("topup", ""))
    except ValueError:
        return None
    found: TopUp | None = TopUp.objects.filter(pk=pk).first()
    return found


def _move(topup: TopUp, state: str, **fields: str) -> None:
    topup.state, topup.changed_at = state, now()
    for name, value in fields.items():
        setattr(topup, name, value)
    topup.save(update_fields=["state", "changed_at", *fields])


def _resume(topup: TopUp) -> None:
    """The purchase that turned it off is paid: it is on again, as it was agreed."""
    auto = AutoTopUp.objects.filter(on=False, failed=topup).first()
    if auto is None:
        return
    auto.on, auto.failed, auto.changed_at = True, None, now()
    auto.save(update_fields=["on", "failed", "changed_at"])
    audit.record(action="topup.resumed", target=auto, after={"paid": topup.public_id}, actor=audit.SYSTEM)


def topup_void(topup: TopUp) -> None:
    """Its invoice can be paid no more."""
    if topup.state in (State.WAITING, State.FAILED):
        _move(topup, State.VOID)


def topup_unsent(topup: TopUp) -> bool:
    """Take back a purchase whose command nobody has begun to send. Its row is locked by whoever does."""
    mine = StripeCommand.objects.select_for_update().filter(operation="topup_charge", once=str(topup.pk))
    command = mine.first()
    if topup.state != State.WAITING or command is None or command.first_sent_at is not None:
        return False
    command.state, command.error, command.error_code = StripeCommand.State.DROPPED, "It was given up.", NOT_NEEDED
    command.done_at = now()
    command.save(update_fields=["state", "error", "error_code", "done_at"])
    _move(topup, State.VOID)
    return True


def topup_pause() -> None:
    """A payment for credit goes back, which takes the balance below what was agreed. The same card is not charged again
    for it: automatic top-up is off until a member turns it on, and what is not sent yet is not bought."""
    money_lock(current_tenant_id())
    auto = AutoTopUp.objects.filter(on=True).first()
    if auto is None:
        return
    auto.on, auto.failed, auto.changed_at = False, None, now()
    auto.save(update_fields=["on", "failed", "changed_at"])
    after = {"on": False, "reason": "paid_back"}
    audit.record(action="topup.stopped", target=auto, before={"on": True}, after=after, actor=audit.SYSTEM)
    for topup in TopUp.objects.filter(state=State.WAITING):
        topup_unsent(topup)
    whose = tenant_current().name
    lines = [
        _("Automatic top-up of %(whose)s was turned off because a payment for credit went back.") % {"whose": whose},
        _("Nothing is bought by itself until you turn it on again, here:"),
    ]
    _mail(_("Automatic top-up is off: a payment went back"), lines)


def topup_fail(topup: TopUp, *, reason: str, message: str) -> None:
    """The purchase was refused: automatic top-up turns itself off, and who can mend it hears of it."""
    if topup.state != State.WAITING:
        return
    _move(topup, State.FAILED, reason=reason, message=message[:500], invoice_id=topup.invoice_id, url=topup.url)
    auto = AutoTopUp.objects.filter(on=True).first()
    if auto is None:  # a member was faster
        return
    auto.on, auto.failed, auto.changed_at = False, topup, now()
    auto.save(update_fields=["on", "failed", "changed_at"])
    after = {"topup": topup.public_id, "reason": reason}
    audit.record(
        action="topup.stopped", target=auto, before={"on": True}, after={"on": False} | after, actor=audit.SYSTEM
    )
    for project_id in projects_listening(WALLET_TOPUP_FAILED):
        data = {"id": topup.public_id, "reason": reason}
        event_publish(project_id=project_id, type=WALLET_TOPUP_FAILED, data=data)
    _tell(topup)


def failure_words(topup: TopUp) -> str:
    """Why a purchase failed, in one sentence."""
    return {
        Reason.DECLINED: _("The saved card was declined."),
        Reason.CONFIRM: _("The bank wants the owner of the card to confirm the payment."),
    }.get(Reason(topup.reason), _("The payment provider did not take it."))


def _tell(topup: TopUp) -> None:
    values = {
        "whose": tenant_current().name,
        "amount": written(topup.amount_nano),
        "below": written(topup.consent.below_nano),
    }
    lines = [
        _("%(whose)s has less than %(below)s of credit, and %(amount)s could not be bought.") % values,
        f"{failure_words(topup)} {topup.message}".strip(),
        _("Automatic top-up is off, so that nothing is tried again by itself."),
    ]
    if topup.url:
        how = _("Confirm and pay here: %(url)s") if topup.reason == Reason.CONFIRM else _("Pay here: %(url)s")
        lines.append(how % {"url": topup.url})
        lines.append(_("Paying brings the credit and turns automatic top-up on again."))
    _mail(_("Automatic top-up is off: a payment failed"), lines)


def _mail(subject: str, lines: list[str]) -> None:
    """Tell who can mend it, with the way to the wallet."""
    link = f"{settings.BASE_URL}/o/{tenant_current().slug}/billing/wallet"
    text = "\n\n".join([*lines, link]) + "\n"
    seats = Member.objects.select_related("user").filter(role__in=TOLD)
    for address in sorted({seat.user.email for seat in seats}):
        transaction.on_commit(
            lambda to=address: send_mail(subject, text, None, [to]),  # type: ignore[misc]
            robust=True,
        )
