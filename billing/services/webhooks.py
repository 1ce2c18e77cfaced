"""The inbox of Stripe's events: store, answer, work later, never lose one.

A handler may run twice, late, or in any order: it takes from the event only which object to look at, fetches that
object under the tenant's lock, and writes what it finds.
"""

import datetime as dt
import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import Q

from billing.errors import StripeMissing
from billing.event_body import happened_at, is_thin
from billing.ledger.stripe_books import RUNNING
from billing.models import BillingCustomer, BillSink, Invoice, PaymentDispute, Refund, StripeEvent, Subscription
from billing.selectors.topups import topups_unsettled
from billing.services import trials
from billing.services.entitlements import entitlement_refresh
from billing.services.locks import money_lock
from billing.services.meter_reports import REPORTS, thin_event_handle
from billing.services.mirror import (
    credit_note_mirror,
    customer_mirror,
    dispute_mirror,
    invoice_mirror,
    payer_of,
    refund_mirror,
    subscription_mirror,
    subscription_of,
)
from billing.services.purchases import purchase_credit, purchases_sweep
from billing.services.sync import customer_sync
from billing.stripe_port import Json, stripe_port
from kit import outbox
from kit.clock import now
from kit.errors import ApiError
from kit.metrics import Counter
from tenants.scope import ops_scope, tenant_scope

logger = logging.getLogger(__name__)

TASK = "billing.stripe_event"
MAX_ATTEMPTS = 12
PARKED_FOR = dt.timedelta(days=3)
SWEEP_BACK = dt.timedelta(days=3)
PAGE = 500
"""Events of Stripe's log that are looked up in one query."""
EVENTS = Counter("billing_stripe_events_total", "Stripe events by outcome", ["type", "state"])
State = StripeEvent.State


def event_receive(event: Json) -> StripeEvent:
    """Store an event whose signature holds, once; ring the task. The same event again changes nothing."""
    if is_thin(event):
        about = event.get("related_object") or {}
        obj: Json = {"id": about.get("id"), "object": about.get("type")}
    else:
        obj = event.get("data", {}).get("object") or {}
    kind = str(obj.get("object") or "")
    customer = obj.get("id") if kind == "customer" else obj.get("customer")
    with transaction.atomic():
        row, fresh = StripeEvent.objects.get_or_create(
            event_id=event["id"][:255],
            defaults={
                "type": str(event.get("type", ""))[:100],
                "object_kind": kind[:60],
                "object_id": str(obj.get("id") or "")[:255],
                "customer_id": customer[:255] if isinstance(customer, str) else "",
                "payload": event,
                "created_at": happened_at(event),
                # The doorbell rings now; the sweep looks only if nobody answers.
                "next_try_at": now() + dt.timedelta(seconds=30),
            },
        )
        if fresh:
            outbox.ring(TASK, row.pk)
    return row


def event_handle(event_pk: int) -> str:
    """Work on one event; returns its state. Every failure stays on the row, with when to try again."""
    event = StripeEvent.objects.filter(pk=event_pk).first()
    if event is None or event.state in (State.DONE, State.IGNORED):
        return event.state if event else State.IGNORED
    try:
        state, error = _work(event), ""
    except Exception as failure:  # whatever it was, the inbox keeps it and staff can see it
        logger.warning("stripe event %s (%s) failed", event.event_id, event.type, exc_info=failure)
        state, error = State.FAILED, f"{type(failure).__name__}: {failure}"[:2000]
    _note(event, state, error)
    EVENTS.labels(event.type, state).inc()
    return state


def _note(event: StripeEvent, state: str, error: str) -> None:
    attempts = event.attempts + 1
    again: dt.datetime | None = None
    if state == State.FAILED and attempts < MAX_ATTEMPTS:
        again = now() + dt.timedelta(seconds=min(10 * 2**attempts, 3600))
    elif state == State.PARKED and now() < event.received_at + PARKED_FOR:
        again = now() + dt.timedelta(minutes=10)
    StripeEvent.objects.filter(pk=event.pk).exclude(state=State.DONE).update(
        state=state,
        error=error,
        attempts=attempts,
        next_try_at=again,
        handled_at=now() if state in (State.DONE, State.IGNORED) else None,
    )


def _work(event: StripeEvent) -> str:
    if is_thin(event.payload):
        return State.DONE if thin_event_handle(event) else State.IGNORED
    _payer_find(event)
    look = _look(event)
    if look is None:
        return State.IGNORED
    tenant_id = tenant_of_customer(event.customer_id)
    if tenant_id is None:
        return State.PARKED
    with tenant_scope(tenant_id):
        money_lock(tenant_id)
        look(BillingCustomer.objects.get(stripe_id=event.customer_id), event.object_id)
        entitlement_refresh()
        if event.type == trials.ENDING:
            trials.trial_remind(subscription_id=event.object_id)
    return State.DONE


def _look(event: StripeEvent) -> Callable[[BillingCustomer, str], None] | None:
    """What to fetch for an event; None when nothing we keep depends on it."""
    by_kind: dict[str, Callable[[BillingCustomer, str], None]] = {
        "customer": lambda customer, _: customer_mirror(customer),
        "payment_method": lambda customer, _: customer_mirror(customer),
        "tax_id": lambda customer, _: customer_mirror(customer),
        "subscription": _look_subscription,
        "invoice": _look_invoice,
        "checkout.session": _look_checkout,
        "credit_note": credit_note_mirror,
        "refund": refund_mirror,
        "dispute": dispute_mirror,
    }
    return by_kind.get(event.object_kind) if event.customer_id else None


def _payer_find(event: StripeEvent) -> None:
    """Refunds and disputes do not say whose they are; their charge does."""
    if event.customer_id or event.object_kind not in ("refund", "dispute"):
        return
    port = stripe_port()
    found = (port.refund_fetch if event.object_kind == "refund" else port.dispute_fetch)(event.object_id)
    event.customer_id = payer_of(found)[:255] if found is not None else ""
    StripeEvent.objects.filter(pk=event.pk).update(customer_id=event.customer_id)


def _look_subscription(customer: BillingCustomer, subscription_id: str) -> None:
    row = subscription_mirror(customer, subscription_id)
    latest = row.raw.get("latest_invoice") if row is not None else None
    if latest:
        invoice_mirror(customer, latest)


def _look_invoice(customer: BillingCustomer, invoice_id: str) -> None:
    row = invoice_mirror(customer, invoice_id)
    subscription_id = subscription_of(row.raw) if row is not None else ""
    if subscription_id:
        subscription_mirror(customer, subscription_id)


def _look_checkout(customer: BillingCustomer, session_id: str) -> None:
    try:
        session = stripe_port().checkout_fetch(session_id)
    except StripeMissing:
        return
    customer_mirror(customer)
    if session.get("subscription"):
        _look_subscription(customer, session["subscription"])
    purchase_credit(session)


def tenant_of_customer(stripe_id: str) -> UUID | None:
    """Whose customer this is; None for a stranger's."""
    with ops_scope("find the tenant of a Stripe customer"):
        found: UUID | None = BillingCustomer.ops.filter(stripe_id=stripe_id).values_list("tenant_id", flat=True).first()
    return found


def event_replay(*, event_pk: int) -> StripeEvent:
    """Work on an event again, whatever its state, from the start of its patience. Staff do this."""
    StripeEvent.objects.filter(pk=event_pk).update(
        state=State.RECEIVED, attempts=0, error="", handled_at=None, next_try_at=now()
    )
    event_handle(event_pk)
    return StripeEvent.objects.get(pk=event_pk)


def events_replay(
    *, since: dt.datetime | None = None, until: dt.datetime | None = None, kind: str = "", failed: bool = False
) -> int:
    """Work on many events again, from the start of their patience: of a span, of a type (or all that begin with it
    where it ends in a dot), or all that failed or are parked. A tick takes them; how many. Staff do this."""
    events = StripeEvent.objects.all()
    if since is not None:
        events = events.filter(received_at__gte=since)
    if until is not None:
        events = events.filter(received_at__lt=until)
    if kind:
        events = events.filter(type__startswith=kind) if kind.endswith(".") else events.filter(type=kind)
    if failed:
        events = events.filter(state__in=(State.FAILED, State.PARKED))
    return events.update(state=State.RECEIVED, attempts=0, error="", handled_at=None, next_try_at=now())


def events_retry() -> int:
    """Work on what is due again: failed and parked events, and those whose doorbell nobody heard."""
    due = StripeEvent.objects.filter(next_try_at__lte=now()).order_by("next_try_at").values_list("pk", flat=True)[:200]
    for event_pk in list(due):
        event_handle(event_pk)
    return len(due)


def stripe_sweep(*, back: dt.timedelta = SWEEP_BACK) -> dict[str, int]:
    """Fetch what webhooks may have dropped: Stripe's own log of the last days, and every object that is not final."""
    counts = {"events": 0, "customers": 0, "failed": 0}
    for event in _unheard(stripe_port().events_since(now() - back)):
        event_receive(event)
        counts["events"] += 1
    counts["credited"] = purchases_sweep(back=back)
    for tenant_id in _unsettled():
        counts[_look_again(tenant_id)] += 1
    counts["events"] += _thin_events(back)
    return counts


def _thin_events(back: dt.timedelta) -> int:
    """Store what the thin event destination may have missed. They need a right of their own on Stripe's key: without it
    everything else is looked at all the same."""
    if settings.USAGE_SINK != BillSink.Sink.METER_EVENTS:
        return 0
    try:
        found = list(stripe_port().thin_events_since(now() - back, types=list(REPORTS)))
    except ApiError as error:
        logger.warning("could not look for reports of the meter: %s", error)
        return 0
    fresh = list(_unheard(found))
    for event in fresh:
        event_receive(event)
    return len(fresh)


def _unheard(events: Iterable[Json]) -> Iterator[Json]:
    """Those that the inbox does not have, asked for by the page: a log of days has thousands."""
    rest = iter(events)
    while page := list(islice(rest, PAGE)):
        there = StripeEvent.objects.filter(event_id__in=[one["id"] for one in page])
        known = set(there.values_list("event_id", flat=True))
        yield from (one for one in page if one["id"] not in known)


def _look_again(tenant_id: UUID) -> str:
    """Fetch one tenant's customer anew; one tenant's trouble must not keep the others waiting."""
    try:
        with tenant_scope(tenant_id):
            customer = BillingCustomer.objects.first()
            if customer is not None:
                customer_sync(customer=customer)
    except (ApiError, DatabaseError, LookupError) as error:
        logger.warning("could not look at the customer of tenant %s again: %s", tenant_id, error)
        return "failed"
    return "customers"


def _unsettled() -> list[Any]:
    """Tenants with a live subscription, an open invoice, a refund on its way, a dispute that runs, or a top-up whose
    end is not known."""
    with ops_scope("subscriptions and invoices that are not final"):
        subs = Subscription.ops.exclude(status__in=("canceled", "incomplete_expired")).values_list(
            "tenant_id", flat=True
        )
        open_ones = Invoice.ops.filter(Q(status="open") | Q(status="draft")).values_list("tenant_id", flat=True)
        refunds = Refund.ops.filter(status__in=("pending", "requires_action")).values_list("tenant_id", flat=True)
        disputes = PaymentDispute.ops.filter(status__in=RUNNING).values_list("tenant_id", flat=True)
        return sorted({*subs, *open_ones, *refunds, *disputes, *topups_unsettled()}, key=str)
