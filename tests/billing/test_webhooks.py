"""The webhook inbox: whatever comes, in whatever order, the end is what Stripe says."""

import datetime as dt
import json
import time
from typing import Any

import pytest
from django.test import Client, override_settings
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from billing.models import BillingCustomer, Invoice, StripeEvent, Subscription
from billing.selectors.subscriptions import entitlement_for
from billing.services import webhooks
from billing.services.catalogue import catalogue_push
from billing.services.entitlements import entitlement_refresh
from billing.services.sync import customer_sync
from billing.stripe_emulator.deliveries import signature
from kit.clock import now
from tenants.scope import tenant_scope
from tests.billing.commanded import customer_made
from tests.billing.emulated import SECRET, Emulator, of_its_own
from tests.billing.test_subscriptions import buy
from tests.conftest import Cast, Person, make_person

emulator = pytest.fixture(scope="module")(of_its_own)


def post(body: bytes, header: str | None = None) -> Any:
    """Deliver a body with a signature, ours or a given one."""
    header = signature(SECRET, body, int(time.time())) if header is None else header
    return Client().post(
        "/webhooks/stripe", data=body, content_type="application/json", headers={"Stripe-Signature": header}
    )


def event_body(**more: Any) -> bytes:
    event = {"id": f"evt_{time.monotonic_ns()}", "object": "event", "type": "product.created", "created": 1, **more}
    return json.dumps(event).encode()


def test_a_signed_event_is_stored_once_and_answered_200(stripe_house: Emulator) -> None:
    body = event_body(data={"object": {"id": "prod_1", "object": "product"}})
    assert post(body).json() == {"received": True}
    assert post(body).status_code == 200
    row = StripeEvent.objects.get(event_id=json.loads(body)["id"])
    assert (row.state, row.type, row.object_id) == ("received", "product.created", "prod_1")
    assert webhooks.event_handle(row.pk) == "ignored"


@pytest.mark.parametrize("header", ["", "t=1,v1=00", "v1=00", "t=x,v1=y", "nonsense", "t=1", "=,="])
def test_a_bad_signature_is_400_and_stores_nothing(stripe_house: Emulator, header: str) -> None:
    body = event_body()
    answer = post(body, header)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_signature")
    assert not StripeEvent.objects.filter(event_id=json.loads(body)["id"]).exists()


def test_an_old_signature_and_a_changed_body_are_refused(stripe_house: Emulator) -> None:
    body = event_body()
    assert post(body, signature(SECRET, body, int(time.time()) - 600)).status_code == 400
    assert post(body + b" ", signature(SECRET, body, int(time.time()))).status_code == 400
    assert post(body, signature("whsec_other", body, int(time.time()))).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b'{"id": 5}',
        b"\xff\xfe",
        b"{",
        b'{"id": ""}',
        b'{"id": "evt_odd", "data": null}',
        b'{"id": "evt_odd", "created": "x"}',
        b'{"id": "evt_odd", "created": 1e30}',
        b'{"id": "evt_odd", "data": {"object": {"a": NaN}}}',
        b'{"id": "evt_odd", "created": -1}',
        b'{"id": "evt_odd", "data": {"object": 5}}',
        b'{"id": "evt_odd", "data": {"object": {"id": "\\ud800"}}}',
    ],
)
def test_a_signed_body_that_is_no_event_is_400(stripe_house: Emulator, body: bytes) -> None:
    assert post(body).status_code == 400


def test_a_nul_in_a_payload_does_no_harm(stripe_house: Emulator) -> None:
    body = event_body(data={"object": {"id": "prod_1", "object": "product", "name": "a\u0000b"}})
    assert b"\\u0000" in body
    assert post(body).status_code == 200


def test_without_a_secret_the_door_is_closed(stripe_house: Emulator) -> None:
    with override_settings(STRIPE_WEBHOOK_SECRET=""):
        answer = post(event_body(), signature("", b"x", 1))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "payments_not_configured")


def test_other_methods_are_refused(stripe_house: Emulator) -> None:
    assert Client().get("/webhooks/stripe").status_code == 405


def events_of(emulator: Emulator, customer_id: str) -> list[dict[str, Any]]:
    """The customer's events as they would be delivered, oldest first."""
    found = []
    since = emulator.v1.customers.retrieve(customer_id).created
    for event in emulator.events(created={"gte": since}):
        raw = event.to_dict(for_json=True)
        obj = raw["data"]["object"]
        if customer_id in (obj.get("id"), obj.get("customer")):
            found.append(raw)
    return found


def deliver(raw: dict[str, Any]) -> str:
    """Through the door, then the task."""
    assert post(json.dumps(raw).encode()).status_code == 200
    return webhooks.event_handle(StripeEvent.objects.get(event_id=raw["id"]).pk)


def forget(person: Person) -> None:
    """As if no event had ever come."""
    with tenant_scope(person.tenant.id):
        Subscription.objects.all().delete()
        Invoice.objects.all().delete()


def picture(person: Person) -> dict[str, Any]:
    """What the house believes."""
    entitlement = entitlement_for(person.tenant.id)
    with tenant_scope(person.tenant.id):
        subscriptions = Subscription.objects.order_by("stripe_id")
        return {
            "plan": (entitlement.plan, entitlement.standing),
            "subscriptions": [(s.stripe_id, s.status, s.plan, s.cancel_at_period_end) for s in subscriptions],
            "invoices": [(i.stripe_id, i.status, i.total) for i in Invoice.objects.order_by("stripe_id")],
        }


def truth(person: Person) -> dict[str, Any]:
    """What the house believes after it fetched everything."""
    with tenant_scope(person.tenant.id):
        customer_sync(customer=BillingCustomer.objects.get())
    return picture(person)


def customer_of(person: Person) -> str:
    return customer_made(person.tenant.id)


def test_the_events_alone_give_the_plan(cast: Cast, stripe_house: Emulator) -> None:
    buy(cast.owner, stripe_house)
    expected = truth(cast.owner)
    forget(cast.owner)
    for raw in events_of(stripe_house, customer_of(cast.owner)):
        deliver(raw)
    assert picture(cast.owner) == expected
    assert expected["plan"] == ("developer", "good")


def test_deleted_before_created_ends_deleted(cast: Cast, stripe_house: Emulator) -> None:
    buy(cast.owner, stripe_house)
    with tenant_scope(cast.owner.tenant.id):
        subscription_id = Subscription.objects.get().stripe_id
    stripe_house.v1.subscriptions.cancel(subscription_id)
    forget(cast.owner)
    for raw in reversed(events_of(stripe_house, customer_of(cast.owner))):
        deliver(raw)
    found = picture(cast.owner)
    assert found["plan"] == ("free", "good")
    assert [entry[1] for entry in found["subscriptions"]] == ["canceled"]


def test_an_event_of_an_unknown_customer_is_parked_until_he_is_known(cast: Cast, stripe_house: Emulator) -> None:
    subscription = stripe_house.subscribe()
    raw = next(e for e in events_of(stripe_house, str(subscription.customer)) if e["type"].endswith("updated"))
    assert deliver(raw) == "parked"
    with tenant_scope(cast.owner.tenant.id):
        BillingCustomer.objects.create(stripe_id=str(subscription.customer))
    StripeEvent.objects.filter(event_id=raw["id"]).update(next_try_at=now())
    webhooks.events_retry()
    assert StripeEvent.objects.get(event_id=raw["id"]).state == "done"


def test_a_failure_is_kept_with_its_reason_and_can_be_replayed(
    cast: Cast, stripe_house: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    buy(cast.owner, stripe_house)
    raw = events_of(stripe_house, customer_of(cast.owner))[-1]

    def broken() -> None:
        raise RuntimeError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(webhooks, "entitlement_refresh", broken)
        assert deliver(raw) == "failed"
    row = StripeEvent.objects.get(event_id=raw["id"])
    assert (row.attempts, row.error) == (1, "RuntimeError: the disk is full")
    assert row.next_try_at is not None
    replayed = webhooks.event_replay(event_pk=row.pk)
    assert (replayed.state, replayed.error, replayed.next_try_at) == ("done", "", None)


def test_the_sweep_finds_what_was_dropped(cast: Cast, stripe_house: Emulator) -> None:
    buy(cast.owner, stripe_house)
    with tenant_scope(cast.owner.tenant.id):
        subscription_id = Subscription.objects.get().stripe_id
    stripe_house.v1.subscriptions.cancel(subscription_id)
    assert picture(cast.owner)["plan"][0] == "developer"
    webhooks.stripe_sweep(back=dt.timedelta(days=1))
    assert picture(cast.owner)["plan"][0] == "free"


def test_a_late_renewal_is_graceful_and_then_over(cast: Cast, stripe_house: Emulator) -> None:
    buy(cast.owner, stripe_house)
    customer = customer_of(cast.owner)
    with tenant_scope(cast.owner.tenant.id):
        sub = Subscription.objects.get()
    bad = stripe_house.v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": customer})
    stripe_house.v1.subscriptions.update(sub.stripe_id, {"default_payment_method": bad.id})
    assert sub.period_end is not None
    stripe_house.control("/clock", {"to": int(sub.period_end.timestamp()) + 7300})
    for raw in events_of(stripe_house, customer):
        deliver(raw)
    assert picture(cast.owner)["plan"] == ("developer", "grace")
    with tenant_scope(cast.owner.tenant.id):
        Subscription.objects.update(past_due_since=now() - dt.timedelta(days=8))
        entitlement_refresh()
    assert picture(cast.owner)["plan"] == ("free", "restricted")


LIFE = st.lists(st.sampled_from(["leave", "stay", "up", "down", "rename", "deliver", "deliver", "deliver"]), max_size=6)


@pytest.mark.slow
@settings(
    max_examples=5,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(life=LIFE, end=st.booleans(), drop=st.booleans(), random=st.randoms(use_true_random=False))
def test_any_order_doubling_and_loss_ends_in_what_stripe_says(
    stripe_house: Emulator, life: list[str], end: bool, drop: bool, random: Any
) -> None:
    person = make_person("hypo")
    buy(person, stripe_house)
    forget(person)
    customer = customer_of(person)
    catalogue_push()
    sub = stripe_house.v1.subscriptions.list({"customer": customer}).data[0]
    prices = {p.lookup_key: p.id for p in stripe_house.v1.prices.list({"active": True, "limit": 100}).data}
    for step in life:
        if step == "deliver":
            deliver(random.choice(events_of(stripe_house, customer)))
        else:
            act(stripe_house, sub, step, prices)
    if end:
        stripe_house.v1.subscriptions.cancel(sub.id)
    left = events_of(stripe_house, customer)
    left += random.sample(left, len(left) // 2)
    random.shuffle(left)
    for raw in left[: len(left) // 2] if drop else left:
        deliver(raw)
    if drop:
        webhooks.stripe_sweep(back=dt.timedelta(days=1))
        webhooks.events_retry()
        for row in StripeEvent.objects.filter(customer_id=customer, state="received"):
            webhooks.event_handle(row.pk)
    believed = picture(person)
    assert believed == truth(person)


def act(emulator: Emulator, sub: Any, step: str, prices: dict[str | None, str]) -> None:
    """One thing that happens at Stripe."""
    if step in ("leave", "stay"):
        emulator.v1.subscriptions.update(sub.id, {"cancel_at_period_end": step == "leave"})
    elif step == "rename":
        emulator.v1.customers.update(str(sub.customer), {"name": "Another name"})
    else:
        price = prices["tunesmith_team_1" if step == "up" else "tunesmith_developer_1"]
        items = [{"id": sub["items"].data[0].id, "price": price}]
        emulator.v1.subscriptions.update(sub.id, {"items": items, "proration_behavior": "always_invoice"})
