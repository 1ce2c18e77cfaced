"""What staff may do to a tenant, and to what is their own. Each takes a reason, acts through the owning room's service,
and is logged twice: in the tenant's own audit log, where it concerns one, and in the staff's log."""

import contextlib
import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction

from billing.models import BillingFinding, CreditGrant, StripeCommand, StripeEvent
from billing.services.commands import command_again, command_drop, command_finish
from billing.services.credit_notes import credit_note_write
from billing.services.credits import credit_grant, credit_refund
from billing.services.dunning import hold_revoke, hold_set
from billing.services.entitlements import entitlement_refresh, override_revoke, override_set
from billing.services.findings import finding_resolve
from billing.services.topup_settling import topup_pause
from billing.services.wallet import postpaid_most_set
from billing.services.webhooks import event_replay, events_replay
from hooks import services as hooks
from hooks.models import Delivery, Endpoint
from kit.errors import BadRequest, Conflict, NotFound
from kit.logs import request_id
from ops.models import StaffAction
from serving import pins
from serving import services as serving
from tenants import audit
from tenants.access import AuthContext
from tenants.models import Project, Tenant, User, Visit
from tenants.scope import OPS, tenant_scope
from tenants.services.organisations import tenant_set_status
from tenants.services.visits import visit_start
from training.models import Job, Slot
from training.services import parking, requeueing
from training.services.requeueing import job_requeue as training_requeue

SHORTEST_REASON = 8


@dataclass(frozen=True, slots=True)
class Staff:
    """Who acts, from where, and why."""

    user: User
    reason: str
    ip: str | None = None

    def check(self) -> "Staff":
        """BadRequest unless the reason says something."""
        if len(self.reason.strip()) < SHORTEST_REASON:
            raise BadRequest(f"Say why, in at least {SHORTEST_REASON} characters.", param="reason")
        return self


@contextlib.contextmanager
def acting_in(tenant_id: UUID, by: Staff) -> Iterator[Tenant]:
    """The tenant's scope, with the member of staff as the actor of everything recorded inside. Their address stays in
    our own log."""
    by.check()
    with tenant_scope(tenant_id):
        tenant = Tenant.objects.filter(pk=tenant_id).first()
        if tenant is None:
            raise NotFound.of(tenant_id)
        project = Project.objects.order_by("created_at").values_list("pk", flat=True).first()
        context = AuthContext(
            tenant_id=tenant_id,
            tenant_slug=tenant.slug,
            project_id=project or tenant_id,
            actor_kind="staff",
            actor_id=str(by.user.pk),
            actor_label=by.user.email,
            scopes=frozenset(),
        )
        token = audit.set_actor(context)
        try:
            yield tenant
        finally:
            audit.reset_actor(token)


def record(
    *, action: str, target: Any, by: Staff, tenant_id: UUID | None, detail: dict[str, Any] | None = None
) -> None:
    """Write one line of the staff's log."""
    StaffAction.objects.create(
        actor_id=by.user.pk,
        actor_label=by.user.email,
        action=action,
        target_kind=type(target).__name__.lower(),
        target_id=str(getattr(target, "public_id", target.pk)),
        target_label=str(target)[:200],
        organisation=tenant_id,
        reason=by.reason.strip()[:300],
        detail=detail or {},
        ip=by.ip,
        request_id=request_id.get(),
    )


def tenant_suspend(*, tenant_id: UUID, by: Staff) -> Tenant:
    """Stop an organisation: its keys fail within seconds, its members see why."""
    return _set_status(tenant_id, Tenant.Status.SUSPENDED, "tenant.suspend", by)


def tenant_reopen(*, tenant_id: UUID, by: Staff) -> Tenant:
    """Let a suspended or closed organisation work again."""
    return _set_status(tenant_id, Tenant.Status.ACTIVE, "tenant.reopen", by)


def _set_status(tenant_id: UUID, status: str, action: str, by: Staff) -> Tenant:
    with acting_in(tenant_id, by) as tenant:
        before = tenant.status
        if before == status:
            raise Conflict(f"The organisation is {status} already.")
        tenant_set_status(tenant=tenant, status=status, reason=by.reason.strip())
        record(action=action, target=tenant, by=by, tenant_id=tenant_id, detail={"before": before, "after": status})
        return tenant


def visit_begin(*, tenant_id: UUID, by: Staff) -> Visit:
    """Look at an organisation's console as its members see it, changing nothing, for half an hour."""
    with acting_in(tenant_id, by) as tenant:
        visit = visit_start(user=by.user, reason=by.reason.strip())
        record(action="tenant.view", target=tenant, by=by, tenant_id=tenant_id, detail={"visit": visit.public_id})
        return visit


def quota_override(
    *, tenant_id: UUID, by: Staff, limits: dict[str, Any], plan: str = "", valid_until: dt.datetime | None = None
) -> None:
    """Change limits of one tenant, or grant a plan without a subscription, for good or until a date."""
    if not limits and not plan:
        raise BadRequest("Change at least one limit, or grant a plan.", param="limit")
    with acting_in(tenant_id, by):
        override = override_set(
            reason=by.reason.strip(), created_by=by.user.email, limits=limits, plan=plan, valid_until=valid_until
        )
        detail = {"limits": limits, "plan": plan, "valid_until": valid_until.isoformat() if valid_until else None}
        record(action="quota.override", target=override, by=by, tenant_id=tenant_id, detail=detail)


def quota_override_revoke(*, tenant_id: UUID, override: Any, by: Staff) -> None:
    """Take an override back."""
    with acting_in(tenant_id, by):
        override_revoke(override_id=override.pk, reason=by.reason.strip())
        record(action="quota.override_revoke", target=override, by=by, tenant_id=tenant_id)


def credit_give(
    *, tenant_id: UUID, by: Staff, kind: str, amount_nano: int, expires_at: dt.datetime | None, once: UUID
) -> None:
    """Give an organisation credit, which it uses before its allowance and its own. The same `once` gives it once."""
    with acting_in(tenant_id, by) as tenant:
        grant = credit_grant(
            kind=kind,
            amount_nano=amount_nano,
            expires_at=expires_at,
            source=f"staff:{once}",
            reason=by.reason.strip(),
            created_by=by.user.email,
        )
        if StaffAction.objects.filter(action="credit.give", target_id=grant.public_id).exists():
            return
        detail = {
            "kind": kind,
            "amount_nano": amount_nano,
            "currency": tenant.currency,
            "expires_at": expires_at.isoformat() if expires_at else None,
        }
        record(action="credit.give", target=grant, by=by, tenant_id=tenant_id, detail=detail)


def credit_take_back(*, tenant_id: UUID, grant_id: UUID, by: Staff) -> int:
    """Take the unused rest of bought credit out of a wallet, because its money goes back; nano. The refund itself
    is made at Stripe. Automatic top-up is off then, or it would buy at once what is given back."""
    with acting_in(tenant_id, by) as tenant:
        nano = credit_refund(grant_id=grant_id, reason=by.reason.strip())
        topup_pause()
        grant = CreditGrant.objects.get(pk=grant_id)
        detail = {"amount_nano": nano, "currency": tenant.currency}
        record(action="credit.take_back", target=grant, by=by, tenant_id=tenant_id, detail=detail)
        return nano


def account_limit(*, tenant_id: UUID, by: Staff, most_nano: int | None) -> None:
    """What an organisation may owe in a month beyond its credit; None leaves it to its spend limits."""
    with acting_in(tenant_id, by) as tenant:
        wallet = postpaid_most_set(nano=most_nano, reason=by.reason.strip())
        detail = {"most_nano": most_nano, "currency": tenant.currency}
        record(action="wallet.limit", target=wallet, by=by, tenant_id=tenant_id, detail=detail)


def job_requeue(*, tenant_id: UUID, job_id: UUID, by: Staff) -> None:
    """Take a job from its worker, or end its waiting time: it goes on from its last checkpoint."""
    with acting_in(tenant_id, by):
        job: Job = training_requeue(job_id=job_id, reason=by.reason.strip())
        record(action="job.requeue", target=job, by=by, tenant_id=tenant_id)


def job_urgent(*, tenant_id: UUID, job_id: UUID, by: Staff) -> None:
    """Let a waiting job go before everybody's."""
    _job_set(tenant_id, job_id, by, "job.urgent", requeueing.job_urgent)


def job_ordinary(*, tenant_id: UUID, job_id: UUID, by: Staff) -> None:
    """Let an urgent job take its usual turn again."""
    _job_set(tenant_id, job_id, by, "job.ordinary", requeueing.job_ordinary)


def job_hold(*, tenant_id: UUID, job_id: UUID, by: Staff) -> None:
    """Keep a job from running until it is released."""
    _job_set(tenant_id, job_id, by, "job.hold", requeueing.job_hold)


def job_release(*, tenant_id: UUID, job_id: UUID, by: Staff) -> None:
    """Let a held job queue again."""
    _job_set(tenant_id, job_id, by, "job.release", requeueing.job_release)


def job_kill(*, tenant_id: UUID, job_id: UUID, by: Staff) -> None:
    """End a job, whatever it is doing; the customer pays nothing."""
    _job_set(tenant_id, job_id, by, "job.kill", requeueing.job_kill)


def _job_set(tenant_id: UUID, job_id: UUID, by: Staff, action: str, work: Callable[..., Job]) -> None:
    with acting_in(tenant_id, by):
        record(action=action, target=work(job_id=job_id, reason=by.reason.strip()), by=by, tenant_id=tenant_id)


def slot_park(*, slot_id: int, by: Staff) -> None:
    """Keep new jobs away from a place to train; what runs there runs on."""
    _slot_set(slot_id, by, "slot.park", parking.slot_park)


def slot_unpark(*, slot_id: int, by: Staff) -> None:
    """Let a place to train take jobs again."""
    _slot_set(slot_id, by, "slot.unpark", parking.slot_unpark)


def _slot_set(slot_id: int, by: Staff, action: str, work: Callable[..., Slot]) -> None:
    by.check()
    with transaction.atomic():
        record(action=action, target=work(slot_id=slot_id), by=by, tenant_id=None)


def replica_leave(*, name: str, by: Staff) -> None:
    """Let an engine finish what it has and leave."""
    by.check()
    record(action="replica.leave", target=serving.replica_leave(name=name), by=by, tenant_id=None)


def deployment_pin(*, tenant_id: UUID, deployment_id: UUID, pinned: bool, by: Staff) -> str:
    """Keep a live deployment's model in the engines' memory, or no longer; why it is not so yet, empty when it is."""
    with acting_in(tenant_id, by):
        row = pins.deployment_pin_set(deployment_id=deployment_id, pinned=pinned, reason=by.reason.strip())
        action = "deployment.pin" if pinned else "deployment.unpin"
        record(action=action, target=row, by=by, tenant_id=tenant_id)
    return pins.pin_tell(tenant_id=tenant_id, deployment_id=deployment_id)


def webhook_replay(*, event_pk: int, by: Staff) -> StripeEvent:
    """Work on an event of the inbox again; it fetches the object afresh, so doing it twice is harmless."""
    by.check()
    event = StripeEvent.objects.filter(pk=event_pk).first()
    if event is None:
        raise NotFound.of(event_pk)
    with transaction.atomic():
        record(action="webhook.replay", target=event, by=by, tenant_id=None, detail={"event": event.event_id})
    return event_replay(event_pk=event_pk)


def dunning_hold(*, tenant_id: UUID, most: str, until: dt.datetime | None, by: Staff) -> None:
    """Let an organisation with overdue invoices go no further than a step."""
    with acting_in(tenant_id, by):
        row = hold_set(most=most, until=until, reason=by.reason, created_by=by.user.email)
        entitlement_refresh()
        record(action="dunning.hold", target=row, by=by, tenant_id=tenant_id, detail={"most": most})


def dunning_hold_revoke(*, tenant_id: UUID, hold: Any, by: Staff) -> None:
    """Take a hold back."""
    with acting_in(tenant_id, by):
        hold_revoke(hold_id=hold.pk, reason=by.reason.strip())
        entitlement_refresh()
        record(action="dunning.hold_revoke", target=hold, by=by, tenant_id=tenant_id)


def invoice_credit(*, tenant_id: UUID, invoice_id: str, cents: int, to: str, by: Staff) -> StripeCommand:
    """Take back a part of an invoice; the command, done or on its way. Raises what Stripe refused."""
    with acting_in(tenant_id, by) as tenant:
        command = credit_note_write(invoice_id=invoice_id, cents=cents, to=to, memo=by.reason.strip())
        detail = {"invoice": invoice_id, "cents": cents, "currency": tenant.currency, "to": to}
        record(action="invoice.credit", target=tenant, by=by, tenant_id=tenant_id, detail=detail)
    return command_finish(command)


def webhooks_replay(*, by: Staff, since: dt.datetime | None, until: dt.datetime | None, kind: str, failed: bool) -> int:
    """Work on many events of the inbox again; how many. BadRequest for all of everything."""
    by.check()
    if since is None and not kind and not failed:
        raise BadRequest("Name a span, a type, or only what failed.", param="since")
    with transaction.atomic():
        count = events_replay(since=since, until=until, kind=kind, failed=failed)
        detail = {"count": count, "type": kind, "failed": failed}
        detail |= {name: at.isoformat() for name, at in (("since", since), ("until", until)) if at is not None}
        record(action="webhook.replay_many", target=by.user, by=by, tenant_id=None, detail=detail)
    return count


def finding_settle(*, finding_id: int, by: Staff) -> BillingFinding:
    """Settle a finding by hand, with the reason kept on it."""
    by.check()
    with transaction.atomic(), transaction.atomic(using=OPS):
        row = finding_resolve(finding_id=finding_id, by=by.user.email, reason=by.reason)
        record(action="finding.resolve", target=row, by=by, tenant_id=row.organisation, detail={"kind": row.kind})
    return row


def command_send_again(*, tenant_id: UUID, command_id: UUID, by: Staff) -> StripeCommand:
    """Send a refused or doubtful command to Stripe once more."""
    return _command_set(tenant_id, by, "stripe_command.again", lambda: command_again(command_id=command_id))


def command_give_up(*, tenant_id: UUID, command_id: UUID, by: Staff) -> StripeCommand:
    """Give a refused or doubtful command up."""
    return _command_set(tenant_id, by, "stripe_command.drop", lambda: command_drop(command_id=command_id))


def _command_set(tenant_id: UUID, by: Staff, action: str, work: Callable[[], StripeCommand]) -> StripeCommand:
    with acting_in(tenant_id, by):
        row = work()
        record(action=action, target=row, by=by, tenant_id=tenant_id, detail={"operation": row.operation})
    return row


def delivery_replay(*, tenant_id: UUID, delivery_id: UUID, by: Staff) -> Delivery:
    """Send an event to a customer's endpoint again."""
    with acting_in(tenant_id, by):
        found = Delivery.objects.select_related("endpoint", "event").filter(pk=delivery_id).first()
        if found is None:
            raise NotFound.of(delivery_id)
        row = hooks.delivery_replay(delivery=found, reason=by.reason.strip())
        record(action="delivery.replay", target=row, by=by, tenant_id=tenant_id, detail={"event": found.event.type})
        return row


def deliveries_replay(*, tenant_id: UUID, endpoint_id: UUID, since: dt.datetime, by: Staff) -> hooks.Replayed:
    """Send again what has failed for a customer's endpoint since then."""
    with acting_in(tenant_id, by):
        endpoint = Endpoint.objects.filter(pk=endpoint_id).first()
        if endpoint is None:
            raise NotFound.of(endpoint_id)
        made = hooks.deliveries_replay(endpoint=endpoint, since=since, reason=by.reason.strip())
        detail = {"since": since.isoformat(), "count": made.count, "left": made.left}
        record(action="endpoint.replay_failed", target=endpoint, by=by, tenant_id=tenant_id, detail=detail)
        return made


def staff_make(*, email: str, by: str = "shell", reason: str) -> User:
    """Promote a user to staff. They still need a second factor before the console opens."""
    user = User.objects.filter(email__iexact=email).first()
    if user is None:
        raise NotFound(f"No user has the address {email}.")
    user.is_staff = True
    user.save(update_fields=["is_staff"])
    StaffAction.objects.create(
        actor_label=by,
        action="staff.make",
        target_kind="user",
        target_id=str(user.pk),
        target_label=user.email,
        reason=reason[:300],
    )
    return user
