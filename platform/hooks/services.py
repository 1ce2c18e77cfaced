"""Changes to endpoints, announcing events, and sending one again. All run in the caller's tenant scope.

What leaves the house is in `delivery`; nothing here waits for anybody.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from hooks import signing
from hooks.addresses import host_of, place_of
from hooks.catalogue import EVENT_TYPES, KINDS
from hooks.errors import EndpointDisabled, EndpointsFull, TriedTooSoon
from hooks.models import Delivery, DeliveryTry, Endpoint, Event
from kit import outbox, sealing
from kit.clock import now
from kit.errors import BadRequest
from tenants import audit
from tenants.models import Member, Project, Role
from tenants.scope import ops_scope
from tenants.selectors import tenant_current
from tenants.services.organisations import clean_name, tenant_turn

DELIVER = "hooks.deliver"
MOST_ENDPOINTS = 20
"""Of one project."""
OVERLAP = dt.timedelta(hours=24)
"""How long the old secret signs too, where that was asked for."""
MOST_REPLAYED = 10_000
KEEP = dt.timedelta(days=30)
TEST_EVERY = dt.timedelta(seconds=5)
BATCH, ROUNDS = 500, 20
"""Rows that one statement of the housekeeping takes, and how many times it does at most."""
TOLD = (Role.OWNER, Role.ADMIN)


def endpoint_create(
    *, project: Project, name: str, url: str, event_types: Sequence[str], created_by: str = ""
) -> tuple[Endpoint, str]:
    """An endpoint, and its signing secret, which is shown once. Raises AddressRefused for a URL that cannot be one;
    whether its name resolves is the door's question (`addresses.url_look`), before the transaction."""
    name, types = clean_name(name), _types(event_types)
    place_of(url)
    tenant_turn()
    if Endpoint.objects.filter(project=project).count() >= MOST_ENDPOINTS:
        raise EndpointsFull(f"This project has {MOST_ENDPOINTS} endpoints, the most it may. Delete one first.")
    secret = signing.secret_new()
    made: Endpoint = Endpoint.objects.create(
        project=project,
        name=name,
        url=url,
        event_types=types,
        secret=sealing.seal(secret),
        secret_hint=signing.hint_of(secret),
        created_by=created_by[:254],
    )
    audit.record(action="webhook_endpoint.created", target=made, after=_told({"url": url, "event_types": types}))
    return made, secret


def endpoint_change(
    *, endpoint: Endpoint, name: str | None = None, url: str | None = None, event_types: Sequence[str] | None = None
) -> Endpoint:
    """Other values for what is given. Deliveries that wait go to the new URL."""
    row = _locked(endpoint)
    wanted: dict[str, Any] = {}
    if name is not None:
        wanted["name"] = clean_name(name)
    if url is not None:
        place_of(url)
        wanted["url"] = url
    if event_types is not None:
        wanted["event_types"] = _types(event_types)
    changed = {field: value for field, value in wanted.items() if getattr(row, field) != value}
    if changed:
        before = {field: getattr(row, field) for field in changed}
        for field, value in changed.items():
            setattr(row, field, value)
        if "url" in changed:  # what was learnt of the old server says nothing of the new one
            _forget(row)
        row.updated_at = now()
        row.save()
        audit.record(action="webhook_endpoint.changed", target=row, before=_told(before), after=_told(changed))
    return row


def endpoint_rotate(*, endpoint: Endpoint, keep_old: bool = False) -> tuple[Endpoint, str]:
    """A new signing secret, shown once. With `keep_old` both sign for 24 hours; else the old one ends at once."""
    row, secret = _locked(endpoint), signing.secret_new()
    row.old_secret = row.secret if keep_old else ""
    row.old_secret_until = now() + OVERLAP if keep_old else None
    row.secret, row.secret_hint, row.updated_at = sealing.seal(secret), signing.hint_of(secret), now()
    row.save()
    after = {"old_works_until": row.old_secret_until.isoformat() if row.old_secret_until else None}
    audit.record(action="webhook_endpoint.rotated", target=row, after=after)
    return row, secret


def endpoint_enable(*, endpoint: Endpoint) -> Endpoint:
    """Send again, what happens from now on. Doing it twice changes nothing."""
    row = _locked(endpoint)
    if row.state != Endpoint.State.ENABLED:
        row.state, row.reason, row.updated_at = Endpoint.State.ENABLED, Endpoint.Reason.NONE, now()
        _forget(row)
        row.save()
        audit.record(action="webhook_endpoint.enabled", target=row)
    return row


def endpoint_disable(*, endpoint: Endpoint, reason: str = Endpoint.Reason.ASKED) -> Endpoint:
    """Send nothing more. What waited is failed, and can be replayed. Admins are told where nobody asked for it."""
    row = _locked(endpoint)
    if row.state == Endpoint.State.DISABLED:
        return row
    row.state, row.reason, row.updated_at = Endpoint.State.DISABLED, reason, now()
    row.save()
    waiting = Delivery.objects.filter(endpoint=row, state=Delivery.State.PENDING)
    failed = waiting.update(
        state=Delivery.State.FAILED, next_at=None, finished_at=now(), error="The endpoint was disabled."
    )
    audit.record(
        action="webhook_endpoint.disabled", target=row, after={"waiting": failed}, reason=row.get_reason_display()
    )
    if reason != Endpoint.Reason.ASKED:
        _mail(row)
    return row


def endpoint_delete(*, endpoint: Endpoint) -> None:
    """Forget it, with its log of deliveries."""
    row = _locked(endpoint)
    audit.record(action="webhook_endpoint.deleted", target=row, before=_told({"url": row.url}))
    DeliveryTry.objects.filter(delivery__endpoint=row).delete()  # most of the rows, in one statement
    row.delete()


def endpoint_test_begin(*, endpoint: Endpoint) -> None:
    """Note that a test is about to be sent; TriedTooSoon within seconds of the last."""
    row = _locked(endpoint)
    if row.tested_at is not None and row.tested_at > now() - TEST_EVERY:
        wait = int(TEST_EVERY.total_seconds())
        raise TriedTooSoon(
            f"This endpoint was tested less than {wait} seconds ago. Wait as long, then test again.",
            headers={"Retry-After": str(wait)},
        )
    row.tested_at = now()
    row.save(update_fields=["tested_at"])


def event_publish(*, project_id: UUID, type: str, data: dict[str, str]) -> Event:
    """Announce what the running transaction makes true, to every endpoint of the project that asked for this type.

    `data` is thin: `{"id": …}` of the object it is about. If the transaction rolls back, nobody hears of it.
    """
    assert type in KINDS, type  # noqa: S101 - a type without an entry in the catalogue is our own slip
    event: Event = Event.objects.create(project_id=project_id, type=type, data=data)
    listening = Endpoint.objects.filter(
        project_id=project_id, state=Endpoint.State.ENABLED, event_types__contains=[type]
    )
    made = [
        Delivery(tenant_id=event.tenant_id, endpoint=endpoint, event=event, next_at=event.created_at)
        for endpoint in listening
    ]
    if made:
        Delivery.objects.bulk_create(made)
        outbox.ring(DELIVER)
    return event


def projects_listening(type: str) -> list[UUID]:
    """The tenant's projects that have an endpoint for this type: where something is announced that is no project's."""
    asked = Endpoint.objects.filter(state=Endpoint.State.ENABLED, event_types__contains=[type])
    return sorted(set(asked.values_list("project_id", flat=True)))


def delivery_replay(*, delivery: Delivery, reason: str = "") -> Delivery:
    """Send it again, now, under the same event id: the schedule of tries begins anew. One that waits goes at once."""
    _enabled(delivery.endpoint)
    row: Delivery = Delivery.objects.select_for_update().get(pk=delivery.pk)
    before = row.state
    row.state, row.step, row.next_at, row.finished_at = Delivery.State.PENDING, 0, now(), None
    row.save(update_fields=["state", "step", "next_at", "finished_at"])
    audit.record(action="webhook_delivery.replayed", target=row, before={"state": before}, reason=reason)
    outbox.ring(DELIVER)
    return row


@dataclass(frozen=True, slots=True)
class Replayed:
    """So many deliveries wait again; so many that failed as well are left, because there were too many at once."""

    count: int
    left: int


def deliveries_replay(*, endpoint: Endpoint, since: dt.datetime, reason: str = "") -> Replayed:
    """Send again, now, whatever ended as failed or blocked at or after `since`: the newest first to be chosen, at most
    MOST_REPLAYED at once. EndpointDisabled for an endpoint that is."""
    row = _enabled(endpoint)
    lost = Delivery.objects.filter(
        endpoint=row, state__in=(Delivery.State.FAILED, Delivery.State.BLOCKED), finished_at__gte=since
    )
    chosen = list(lost.order_by("-pk").values_list("pk", flat=True)[:MOST_REPLAYED])
    again = {"state": Delivery.State.PENDING, "step": 0, "next_at": now(), "finished_at": None}
    # A replay of one of them may have come in between; what it set in motion is not begun twice.
    made = Replayed(count=lost.filter(pk__in=chosen).update(**again), left=lost.count())
    if made.count:
        after = {"since": since.isoformat(), "deliveries": made.count}
        audit.record(action="webhook_endpoint.replayed", target=row, after=after, reason=reason)
        outbox.ring(DELIVER)
    return made


def events_expire() -> int:
    """Remove events that are older than thirty days, with their deliveries; beat calls it. Returns how many events."""
    removed = 0
    with ops_scope("remove old webhook events"):
        for _round in range(ROUNDS):
            old = list(Event.ops.filter(created_at__lt=now() - KEEP).values_list("pk", flat=True)[:BATCH])
            DeliveryTry.ops.filter(delivery__event__in=old).delete()
            Event.ops.filter(pk__in=old).delete()
            removed += len(old)
            if len(old) < BATCH:
                break
    return removed


def secrets_renew() -> int:
    """Seal every secret under the newest key, and drop old ones that no longer sign; beat calls it. Returns how many
    endpoints changed. After one run a fallback of SECRET_KEY can go."""
    changed = 0
    with ops_scope("seal webhook secrets under the newest key"):
        Endpoint.ops.filter(old_secret_until__lt=now()).update(old_secret="", old_secret_until=None)
        for row in Endpoint.ops.only("secret", "old_secret").iterator(chunk_size=BATCH):
            try:
                fresh = {
                    field: sealing.reseal(value)
                    for field in ("secret", "old_secret")
                    if (value := getattr(row, field)) and not sealing.is_current(value)
                }
            except sealing.CannotOpen:
                continue  # its deliveries say so, and rotating it heals it
            if fresh:  # unless it was rotated meanwhile
                same = Q(secret=row.secret, old_secret=row.old_secret)
                changed += Endpoint.ops.filter(same, pk=row.pk).update(**fresh)
    return changed


def _forget(row: Endpoint) -> None:
    """Of the failures so far."""
    row.failures = row.timeouts = 0
    row.failing_since = row.failed_at = row.resting_until = None


def _told(values: dict[str, Any]) -> dict[str, Any]:
    """Values as the audit log has them."""
    return {**values, "url": host_of(values["url"])} if "url" in values else values


def _locked(endpoint: Endpoint) -> Endpoint:
    """Its row, locked against other changes but not against events that refer to it: no job's end waits here."""
    found: Endpoint = Endpoint.objects.select_for_update(no_key=True).get(pk=endpoint.pk)
    return found


def _enabled(endpoint: Endpoint) -> Endpoint:
    """Its row, locked; EndpointDisabled where nothing may be sent."""
    row = _locked(endpoint)
    if row.state != Endpoint.State.ENABLED:
        raise EndpointDisabled(f"The endpoint “{row.name}” is disabled. Enable it, then replay.")
    return row


def _types(wanted: Iterable[str]) -> list[str]:
    asked = set(wanted)
    unknown = sorted(asked - set(EVENT_TYPES))
    if unknown or not asked:
        what = f"Unknown event type '{unknown[0][:80]}'." if unknown else "Choose at least one event type."
        raise BadRequest(f"{what} Types: {', '.join(EVENT_TYPES)}.", param="event_types")
    return [name for name in EVENT_TYPES if name in asked]


def _mail(row: Endpoint) -> None:
    """Tell owners and admins, after the commit."""
    tenant, project = tenant_current(), Project.objects.get(pk=row.project_id)
    values = {"name": row.name, "url": row.url, "project": project.name, "why": row.get_reason_display()}
    subject = _("The webhook endpoint “%(name)s” was disabled") % values
    text = _(
        "Nothing more is sent to “%(name)s” (%(url)s) of the project %(project)s.\n"
        "Reason: %(why)s.\n\n"
        "What was not delivered stays in its log for 30 days. Once the endpoint works, enable it and replay from there:"
    )
    link = f"{settings.BASE_URL}/o/{tenant.slug}/p/{project.slug}/webhooks/{row.public_id}/"
    seats = Member.objects.filter(role__in=TOLD, user__is_active=True).select_related("user")
    whole = f"{text % values}\n{link}\n"
    for address in [seat.user.email for seat in seats]:
        transaction.on_commit(lambda to=address: send_mail(subject, whole, None, [to]), robust=True)  # type: ignore[misc]
