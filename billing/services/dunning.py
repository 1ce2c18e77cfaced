"""The steps of the ladder, taken and taken back: status, audit, one mail a step; and what staff allow.

In the tenant's scope, under its lock: `services.entitlements.entitlement_refresh` calls it whenever it derives.
"""

import datetime as dt
from uuid import UUID

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.utils.translation import gettext as _

from billing.models import DunningHold, DunningNotice, Invoice, TenantEntitlement
from billing.plans.ladder import CLOSED, DAYS, NO_JOBS, NONE, READ_ONLY, STEPS, SUSPENDED, WARNED, Rung, at_least
from billing.selectors.dunning import BY_CARD, TO_CONFIRM, left_of, way_of
from kit.clock import now
from kit.errors import BadRequest, NotFound
from kit.money import price
from tenants import audit
from tenants.models import Member, Role, Tenant
from tenants.selectors import tenant_current
from tenants.services.organisations import tenant_set_status

TOLD = (Role.OWNER, Role.ADMIN, Role.BILLING)
CONFIRM = "confirm"
"""A notice that is about no step: the payment waits for the card's owner."""
REASON = "An invoice is overdue."
UNPAID = "tenant.closed_unpaid"
"""Closing that a payment undoes at any time: nothing is erased after it."""


def rung_take(row: TenantEntitlement, rung: Rung) -> tuple[bool, bool]:
    """Bring a tenant to where it stands now: whether anything changed, and whether it has to be derived again, because
    somebody else had the organisation's row."""
    done = _step(row, rung)
    if rung.step:
        _tell_confirm(rung)
    return done


def _step(row: TenantEntitlement, rung: Rung) -> tuple[bool, bool]:
    before = row.step
    if (row.step, row.step_since) == (rung.step, rung.since) and not _status_wanted(row):
        return False, False
    row.step, row.step_since = rung.step, rung.since
    if before != rung.step:
        after = {"step": rung.step, "invoice": rung.invoice}
        audit.record(action="dunning.step", target=row, before={"step": before}, after=after, actor=audit.SYSTEM)
        if at_least(rung.step, WARNED) and STEPS.index(rung.step) > STEPS.index(before):
            _tell(rung)
    taken = _status(row)
    row.save(update_fields=["step", "step_since", "step_status"])
    return True, not taken


def _status_wanted(row: TenantEntitlement) -> bool:
    wanted = {SUSPENDED: Tenant.Status.SUSPENDED, CLOSED: Tenant.Status.CLOSED}.get(row.step, "")
    return bool(wanted != row.step_status)


def _status(row: TenantEntitlement) -> bool:
    """Suspend, close or reopen; what staff or the members themselves did to the organisation is left alone. False
    where that has to wait for whoever has the organisation's row: they may be waiting for the money's lock, which is
    held here, and the order of `services.locks` is theirs."""
    wanted = {SUSPENDED: Tenant.Status.SUSPENDED, CLOSED: Tenant.Status.CLOSED}.get(row.step, "")
    if wanted == row.step_status:
        return True
    rows = Tenant.objects.select_for_update(no_key=True, skip_locked=True)
    tenant: Tenant | None = rows.filter(pk=row.tenant_id).first()
    if tenant is None:
        return False
    if tenant.status not in (Tenant.Status.ACTIVE, row.step_status):
        return True
    if wanted:
        action = UNPAID if wanted == Tenant.Status.CLOSED else ""
        tenant_set_status(tenant=tenant, status=wanted, reason=REASON, action=action)
    else:
        tenant_set_status(tenant=tenant, status=Tenant.Status.ACTIVE, reason="The overdue invoice is paid or held.")
    row.step_status = wanted
    return True


def _tell(rung: Rung) -> None:
    """Mail whoever can pay, once a step and invoice."""
    _row, fresh = DunningNotice.objects.get_or_create(
        invoice=rung.invoice, step=rung.step, defaults={"tenant_id": tenant_current().pk}
    )
    if not fresh:
        return
    invoice = Invoice.objects.filter(stripe_id=rung.invoice).first()
    if way_of(invoice) == TO_CONFIRM:  # this mail says so
        DunningNotice.objects.get_or_create(
            invoice=rung.invoice, step=CONFIRM, defaults={"tenant_id": tenant_current().pk}
        )
    _mail(rung, invoice)


def _tell_confirm(rung: Rung) -> None:
    """Mail once that a payment waits for the card's owner, where nothing else said so: a card that was refused may be
    asked again and then want its owner."""
    invoice = Invoice.objects.filter(stripe_id=rung.invoice, needs_action=True).first()
    if invoice is None:
        return
    _row, fresh = DunningNotice.objects.get_or_create(
        invoice=rung.invoice, step=CONFIRM, defaults={"tenant_id": tenant_current().pk}
    )
    if fresh:
        _mail(rung, invoice)


def _mail(rung: Rung, invoice: Invoice | None) -> None:
    tenant, way = tenant_current(), way_of(invoice)
    following = STEPS[STEPS.index(rung.step) + 1] if rung.step != CLOSED else NONE
    lines = _about(invoice, way, rung.step)
    if following and rung.since is not None:
        when = rung.since + dt.timedelta(days=DAYS[following])
        then = {"day": f"{when:%Y-%m-%d}", "what": _words(following)}
        lines.append(_("If it is still open on %(day)s: %(what)s") % then)
    lines.append(_("A payment lifts this at once."))
    if invoice is not None and invoice.hosted_url:
        words = _("Confirm it here: %(url)s") if way == TO_CONFIRM else _("Pay it here: %(url)s")
        lines.append(words % {"url": invoice.hosted_url})
    lines.append(f"{settings.BASE_URL}/o/{tenant.slug}/billing/")
    text, subject = "\n\n".join(lines) + "\n", _("An invoice of your organisation is overdue")
    if way == TO_CONFIRM:
        subject = _("A payment of your organisation has to be confirmed")
    seats = Member.objects.select_related("user").filter(role__in=TOLD)
    for address in sorted({seat.user.email for seat in seats}):
        transaction.on_commit(
            lambda to=address: send_mail(subject, text, None, [to]),  # type: ignore[misc]
            robust=True,
        )


def _about(invoice: Invoice | None, way: str, step: str) -> list[str]:
    """What happened, in the words of how the invoice is paid, and what holds now."""
    if invoice is None or way == BY_CARD:
        return [_words(step)]
    due = f"{invoice.due_at:%Y-%m-%d}" if invoice.due_at is not None else ""
    facts = {"number": str(invoice), "amount": price(left_of(invoice), invoice.currency), "day": due}
    said = _("Invoice %(number)s over %(amount)s was due on %(day)s and is not paid.")
    if way == TO_CONFIRM:
        said = _(
            "Your bank wants the card's owner to confirm the payment of invoice %(number)s over %(amount)s. Until then "
            "nothing is charged."
        )
    return [said % facts, _("Everything works for now.") if step == WARNED else _words(step)]


def _words(step: str) -> str:
    return {
        WARNED: _("A payment did not go through, and an invoice is overdue. Everything works for now."),
        NO_JOBS: _("Nothing new is started: no jobs, sweeps or batches. What runs goes on, and models answer."),
        READ_ONLY: _("The API only reads: models do not answer, and nothing can be changed through it."),
        SUSPENDED: _("The organisation is suspended: API keys are refused, and running jobs stop with a checkpoint."),
        CLOSED: _("The organisation is closed. Its data are kept."),
    }[step]


def hold_set(*, most: str, reason: str, created_by: str, until: dt.datetime | None = None) -> DunningHold:
    """Let the scope's tenant go no further than a step, until a moment or for good. Staff do this."""
    if most not in STEPS:
        raise BadRequest(f"Name a step: {', '.join(STEPS[1:])}.", param="most")
    if not reason.strip():
        raise BadRequest("Say why: a reason is needed.", param="reason")
    if until is not None and until <= now():
        raise BadRequest("The hold ends before it begins.", param="until")
    row: DunningHold = DunningHold.objects.create(
        most=most, reason=reason.strip()[:300], created_by=created_by, until=until
    )
    audit.record(action="dunning.held", target=row, after={"most": most}, reason=reason)
    return row


def hold_revoke(*, hold_id: UUID, reason: str) -> None:
    """Take a hold back; doing it twice changes nothing."""
    row = DunningHold.objects.filter(pk=hold_id).first()
    if row is None:
        raise NotFound.of(hold_id)
    if row.revoked_at is None:
        row.revoked_at = now()
        row.save(update_fields=["revoked_at"])
        audit.record(action="dunning.hold_revoked", target=row, reason=reason)
