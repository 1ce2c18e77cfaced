"""The daily comparison with Stripe: what it has, against what our mirrors say. It repairs nothing, it tells.

The hourly sweep and the webhooks repair; what still differs, or differed although they should have known, is a finding.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from uuid import UUID

from django.conf import settings
from django.db.models import F, Q, Sum

from billing.errors import StripeMissing
from billing.models import (
    BillingCustomer,
    CreditGrant,
    Invoice,
    InvoiceLinePush,
    MeterReading,
    Refund,
    StripeEvent,
    Subscription,
)
from billing.periods import start_of
from billing.selectors.items import items_of, plan_item, seats_bought, seats_of
from billing.selectors.meters import METER
from billing.selectors.subscriptions import LIVE
from billing.services.findings import Seen, findings_note
from billing.services.invoicing import pushes_waiting
from billing.services.meter_reports import REPORTS
from billing.services.purchases import purchase_nano, sessions_paid
from billing.stripe_port import Json, stripe_port
from kit.clock import now
from kit.money import written
from tenants.models import Tenant
from tenants.scope import ops_scope, tenant_scope

BACK = dt.timedelta(days=35)
"""How far back objects are compared: a month and what it takes to be paid."""
BILLED_BY = dt.timedelta(days=40)
"""A month and the time in which a renewal's draft is sent: by then usage is on an invoice."""
ON_ITS_WAY = dt.timedelta(minutes=15)
"""What is younger may not have reached us yet."""


def stripe_compare(*, back: dt.timedelta = BACK) -> int:
    """Compare, and keep the differences as findings; how many are open. PaymentsAway and the like go up: a look that
    was not whole settles nothing."""
    since = now() - back
    with ops_scope("whose customers these are"):
        owners: dict[str, UUID] = dict(BillingCustomer.ops.values_list("stripe_id", "tenant_id"))
    seen = [
        *_customers(since, owners),
        *_invoices(since, owners),
        *_refunds(since, owners),
        *_subscriptions(owners),
        *_meters(),
        *_versions(),
        *_usage(),
        *_purchases(since, owners),
    ]
    return findings_note("stripe", seen)


def _young(found: Json) -> bool:
    """Whether the last thing that happened to it may still be on its way here."""
    moves = (found.get("status_transitions") or {}).values()
    last = max([found["created"], *(move for move in moves if move)])
    return last > (now() - ON_ITS_WAY).timestamp()


def _customers(since: dt.datetime, owners: dict[str, UUID]) -> Iterator[Seen]:
    by_tenant = {str(tenant_id): stripe_id for stripe_id, tenant_id in owners.items()}
    for customer in stripe_port().customers_since(since):
        if customer["id"] in owners or _young(customer):
            continue
        tenant = (customer.get("metadata") or {}).get("tenant_id", "")
        if tenant in by_tenant:
            ours = by_tenant[tenant]
            yield Seen("stripe.customer_doubled", customer["id"], ours, "a second one", owners[ours])
        else:
            yield Seen("stripe.customer_unknown", customer["id"], "a customer of ours", tenant or "of no tenant")


def _invoices(since: dt.datetime, owners: dict[str, UUID]) -> Iterator[Seen]:
    there = {invoice["id"]: invoice for invoice in stripe_port().invoices_since(since)}
    with ops_scope("compare invoices with Stripe"):
        ours = {row.stripe_id: row for row in Invoice.ops.filter(stripe_id__in=there)}
        recent = Invoice.ops.filter(issued_at__gte=since + ON_ITS_WAY, fetched_at__lte=now() - ON_ITS_WAY)
        gone = dict(recent.exclude(stripe_id__in=there).values_list("stripe_id", "tenant_id"))
    for stripe_id, found in there.items():
        owner = owners.get(str(found["customer"]))
        if owner is None or _young(found) or found["status"] == "draft":
            continue
        row = ours.get(stripe_id)
        if row is None:
            yield Seen("stripe.invoice_missing", stripe_id, _said(found), "nothing", owner)
            continue
        facts = {"status": row.status, "total": row.total, "amount_paid": row.amount_paid, "currency": row.currency}
        if _said(facts) != _said(found):
            yield Seen("stripe.invoice_differs", stripe_id, _said(found), _said(facts), row.tenant_id)
    for stripe_id, tenant_id in gone.items():
        if stripe_port().invoice_fetch(stripe_id) is None:
            yield Seen("stripe.invoice_gone", stripe_id, "nothing", "an invoice", tenant_id)


def _said(facts: Json) -> str:
    return "{status}, {total} of which {amount_paid} paid, {currency}".format(**facts)


def _refunds(since: dt.datetime, owners: dict[str, UUID]) -> Iterator[Seen]:
    """What went back of each charge, against the refunds we know of it."""
    back = {
        charge["id"]: charge
        for charge in stripe_port().charges_since(since)
        if charge.get("amount_refunded") and str(charge.get("customer")) in owners
    }
    known: dict[str, int] = defaultdict(int)
    with ops_scope("compare refunds with Stripe"):
        lost = ("failed", "canceled")
        rows = Refund.ops.filter(charge_id__in=back).exclude(status__in=lost)
        for charge_id, amount, fetched in rows.values_list("charge_id", "amount", "fetched_at"):
            known[charge_id] += amount
            if fetched > now() - ON_ITS_WAY:
                back.pop(charge_id, None)
    for charge_id, charge in back.items():
        if charge["amount_refunded"] != known[charge_id]:
            owner = owners[str(charge["customer"])]
            yield Seen("stripe.refunds_differ", charge_id, str(charge["amount_refunded"]), str(known[charge_id]), owner)


def _subscriptions(owners: dict[str, UUID]) -> Iterator[Seen]:
    live: dict[str, list[Json]] = defaultdict(list)
    for found in stripe_port().subscriptions_running():
        if str(found["customer"]) in owners and found["status"] in (*LIVE, "paused"):
            live[str(found["customer"])].append(found)
    with ops_scope("compare subscriptions with Stripe"):
        ours = {row.stripe_id: row for row in Subscription.ops.exclude(status__in=("canceled", "incomplete_expired"))}
    for customer, running in live.items():
        owner = owners[customer]
        if len(running) > 1:
            ids = ", ".join(sorted(one["id"] for one in running))
            yield Seen("stripe.subscription_doubled", customer, "one subscription", ids, owner)
        for one in running:
            row = ours.pop(one["id"], None)
            if (row is not None and row.fetched_at > now() - ON_ITS_WAY) or _young(one):
                continue
            item = plan_item(items_of(one))
            there = _stands(one["status"], item["price"]["id"] if item is not None else "", seats_of(one))
            here = _stands(row.status, row.price_id, seats_bought(row)) if row is not None else "nothing"
            if there != here:
                yield Seen("stripe.subscription_differs", one["id"], there, here, owner)
    for row in ours.values():
        if row.status in LIVE and row.fetched_at <= now() - ON_ITS_WAY:
            yield Seen("stripe.subscription_ended", row.stripe_id, "ended", row.status, row.tenant_id)


def _usage() -> Iterator[Seen]:
    """Usage that was sent to Stripe long ago and is on no invoice that was issued, so that nobody ever asks for it."""
    before = now() - BILLED_BY
    with ops_scope("usage that no invoice asks for"):
        sent = InvoiceLinePush.ops.filter(sent_at__lt=before).exclude(amount_cents=0)
        tenants = list(sent.filter(invoice_id="").order_by().values_list("tenant_id", flat=True).distinct())
    for tenant_id in tenants:  # some may be on one that was mirrored before lines were marked
        with tenant_scope(tenant_id):
            pushes_waiting()
    with ops_scope("usage that no invoice asks for"):
        drafts = list(Invoice.ops.filter(status="draft").values_list("stripe_id", flat=True))
        for push in sent.filter(invoice_id__in=["", *drafts]).order_by("sent_at"):
            where = f"on the draft {push.invoice_id}" if push.invoice_id else "on no invoice"
            told = f"{push.amount_cents} cents of {push.period:%Y-%m} ({push.line_key}), sent {push.sent_at:%Y-%m-%d}"
            yield Seen("stripe.usage_unbilled", push.public_id, told, where, push.tenant_id)


def _purchases(since: dt.datetime, owners: dict[str, UUID]) -> Iterator[Seen]:
    """What was paid for credit, against the credit that is there; what was used and its money went back."""
    paid = {session["id"]: session for session in sessions_paid(since)}
    with ops_scope("compare bought credit with Stripe"):
        grants = CreditGrant.ops.select_related("tenant")
        bought = grants.filter(kind=CreditGrant.Kind.PREPAID, source__startswith="cs_")
        credited = {row.source: row for row in bought.filter(Q(source__in=paid) | Q(created_at__gte=since))}
        below = list(grants.annotate(lost=Sum("draws__amount_nano")).filter(lost__gt=F("amount_nano")))
        payers = [owners[session["customer"]] for session in paid.values() if session["customer"] in owners]
        pays_in = dict(Tenant.ops.filter(pk__in=payers).values_list("pk", "currency"))
    for session_id, session in paid.items():
        owner = owners.get(str(session["customer"]))
        if owner is not None and session_id not in credited and not _young(session):
            paid_in = session["currency"]
            told = written(purchase_nano(session, paid_in), code=paid_in)
            ours = pays_in.get(owner, paid_in)
            found = "none" if paid_in == ours else f"none: the organisation pays in {ours.upper()}"
            yield Seen("stripe.purchase_not_credited", session_id, f"{told} of credit", found, owner)
    for session_id, row in credited.items():
        code = row.tenant.currency  # no scope says it here
        nano = purchase_nano(paid.get(session_id) or _session(session_id) or {}, code)
        if nano != row.amount_nano:
            told = f"{written(row.amount_nano, code=code)} of credit"
            yield Seen("stripe.purchase_not_paid", session_id, f"{written(nano, code=code)} paid", told, row.tenant_id)
    for row in below:
        most, lost = (written(nano, code=row.tenant.currency) for nano in (row.amount_nano, row.lost))
        yield Seen(
            "stripe.credit_below_zero", row.public_id, f"at most {most}", f"{lost} used or paid back", row.tenant_id
        )


def _session(session_id: str) -> Json | None:
    try:
        return stripe_port().checkout_fetch(session_id)
    except StripeMissing:
        return None


def _stands(status: str, price_id: str, seats: int) -> str:
    """What a subscription is, as findings say it: its state, the price of its plan, and the seats beyond it."""
    return f"{status} {price_id}" + (f" and {seats} seats" if seats else "")


def _meters() -> Iterator[Seen]:
    """What the meter counted of each organisation on the last whole day, against the readings that it took."""
    end = start_of(now().date())
    day = (end - dt.timedelta(days=1), end)
    with ops_scope("compare meters with Stripe"):
        taken = MeterReading.ops.filter(at__gte=day[0], at__lt=day[1], refused=False).exclude(sent_at=None)
        ours = dict(taken.order_by().values_list("tenant_id").annotate(n=Sum("units")))
        customers = dict(BillingCustomer.ops.filter(tenant_id__in=ours).values_list("tenant_id", "stripe_id"))
    meter = stripe_port().meter_named(METER) if customers else ""
    start, stop = (int(moment.timestamp()) for moment in day)
    for tenant_id, customer in customers.items():
        counted = 0
        with suppress(StripeMissing):  # of a customer that is not there any more nothing is counted
            counted = stripe_port().meter_counted(meter, customer_id=customer, start=start, end=stop) if meter else 0
        if counted != ours[tenant_id]:
            name = f"{customer} on {day[0]:%Y-%m-%d}"
            yield Seen("stripe.meter_differs", name, f"{ours[tenant_id]} cents", f"{counted} cents", tenant_id)


def _versions() -> Iterator[Seen]:
    """Events and the endpoint speak the version that this code was written for; another one moves fields about."""
    pinned = settings.STRIPE_API_VERSION
    for endpoint in stripe_port().endpoints():
        version = endpoint.get("api_version")
        if endpoint["url"] == webhook_url() and version and version != pinned:
            yield Seen("stripe.endpoint_version", endpoint["id"], pinned, str(version))
    recent = StripeEvent.objects.filter(received_at__gte=now() - dt.timedelta(days=1))
    for version in sorted({str(found) for found in recent.values_list("payload__api_version", flat=True) if found}):
        if version != pinned:
            yield Seen("stripe.event_version", f"events of {version}", pinned, version)


def webhook_url() -> str:
    """Where Stripe is to send its events."""
    return f"{settings.BASE_URL.rstrip('/')}/webhooks/stripe"


def endpoint_ensure() -> tuple[str, str]:
    """Make the webhook endpoint at Stripe under the pinned version; its id, and its signing secret when it was made
    now (Stripe tells it once). One of another version is replaced: Stripe cannot change it."""
    port = stripe_port()
    old = []
    for endpoint in port.endpoints():
        if endpoint["url"] != webhook_url():
            continue
        if endpoint.get("api_version") == settings.STRIPE_API_VERSION and endpoint["status"] == "enabled":
            return endpoint["id"], ""
        old.append(endpoint["id"])
    made = port.endpoint_make(webhook_url(), version=settings.STRIPE_API_VERSION)
    for endpoint_id in old:
        port.endpoint_remove(endpoint_id)
    return made["id"], made["secret"]


def thin_destination_ensure() -> tuple[str, str]:
    """Make the destination of thin events about meters at Stripe; its id, and its signing secret when it was made now
    (Stripe tells it once). One whose secret was lost is removed at Stripe by hand."""
    port = stripe_port()
    for found in port.thin_destinations():
        point = found.get("webhook_endpoint") or {}
        if point.get("url") == webhook_url() and found.get("event_payload") == "thin" and found["status"] == "enabled":
            return found["id"], ""
    made = port.thin_destination_make(webhook_url(), name="Tunesmith meters", events=list(REPORTS))
    return made["id"], made["webhook_endpoint"]["signing_secret"]
