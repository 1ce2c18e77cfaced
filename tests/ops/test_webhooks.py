"""Webhooks to customers, in the hands of staff: replayed for a reason, and shown without what is the customer's own."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest

import config.celery  # noqa: F401 - doorbells ring somewhere
from hooks.delivery import RUNS, deliver_due
from hooks.models import Delivery, Endpoint
from kit import redis
from kit.clock import now
from ops.models import StaffAction
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person
from tests.hooks.receiver import Receiver, change, happen, log, nothing_waits, row_of, serve, subscribe

WHY = "their server was down, ticket 4711"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A server that answers what it is told, and nothing left to deliver by others."""
    nothing_waits()
    redis.client().delete(*(f"hooks:run:{number}" for number in range(RUNS)))
    made = Receiver()
    server = serve(made)
    yield made
    server.shutdown()
    server.server_close()


def failed(person: Person, receiver: Receiver, *ages: dt.timedelta) -> tuple[dict[str, Any], list[str]]:
    """An endpoint with a delivery that has failed for good so long ago, for each age; and the events' ids."""
    made = subscribe(person, f"{receiver.url}/token-in-path")
    receiver.says(500)
    events = [happen(person, identifier=f"ftjob-{place}") for place in range(len(ages))]
    with tenant_scope(person.tenant.id):
        Delivery.objects.update(step=9)
    for _ in ages:
        deliver_due()
    with tenant_scope(person.tenant.id):
        for row, age in zip(Delivery.objects.order_by("pk"), ages, strict=True):
            assert row.state == "failed"
            Delivery.objects.filter(pk=row.pk).update(finished_at=now() - age)
    receiver.says(204)
    receiver.taken.clear()
    return made, events


def rows(person: Person) -> list[Delivery]:
    """Its deliveries, the first first."""
    with tenant_scope(person.tenant.id):
        return list(Delivery.objects.order_by("pk"))


def audited(person: Person, action: str) -> AuditEvent:
    """The line of the customer's own log."""
    with tenant_scope(person.tenant.id):
        found: AuditEvent = AuditEvent.objects.get(action=action)
        return found


def test_one_delivery_is_sent_again_for_a_reason_and_logged_twice(
    ada: Person,
    cast: Cast,
    receiver: Receiver,
) -> None:
    _, events = failed(cast.owner, receiver, dt.timedelta(hours=1))
    (row,) = rows(cast.owner)
    path = f"/staff/hooks/delivery/{row.pk}/replay/"
    assert ada.browser.post(path, {"reason": "x"}).status_code == 422 and deliver_due() == 0
    assert ada.browser.post(path, {"reason": WHY}).status_code == 302
    assert deliver_due() == 1
    assert [one.headers["webhook-id"] for one in receiver.taken] == events
    event = audited(cast.owner, "webhook_delivery.replayed")
    assert (event.actor_kind, event.actor_label, event.reason) == ("staff", ada.user.email, WHY)
    line = StaffAction.objects.get(organisation=cast.owner.tenant.pk)
    assert (line.action, line.target_id, line.reason) == ("delivery.replay", row.public_id, WHY)


def test_all_that_failed_since_a_moment_is_sent_again_and_nothing_else(
    ada: Person,
    cast: Cast,
    receiver: Receiver,
) -> None:
    made, events = failed(cast.owner, receiver, dt.timedelta(hours=9), dt.timedelta(hours=2), dt.timedelta(hours=1))
    other = subscribe(cast.stranger, receiver.url)
    endpoint = row_of(cast.owner, made)
    path = f"/staff/hooks/endpoint/{endpoint.pk}/replay-failed/"
    since = f"{now() - dt.timedelta(hours=3):%Y-%m-%dT%H:%M}"
    assert ada.browser.get(path).status_code == 200
    assert ada.browser.post(path, {"reason": WHY}).status_code == 422, "since when?"
    answer = ada.browser.post(path, {"reason": WHY, "since": since}, follow=True)
    assert "2 deliveries are sent again." in answer.content.decode()
    assert deliver_due() == 2
    assert sorted(one.headers["webhook-id"] for one in receiver.taken) == sorted(events[1:])
    assert [row.state for row in rows(cast.owner)] == ["failed", "delivered", "delivered"]
    event = audited(cast.owner, "webhook_endpoint.replayed")
    assert (event.actor_kind, event.reason, event.after["deliveries"]) == ("staff", WHY, 2)
    assert StaffAction.objects.get(organisation=cast.owner.tenant.pk).detail["count"] == 2
    again = ada.browser.post(path, {"reason": WHY, "since": since}, follow=True).content.decode()
    assert "Nothing has failed since then." in again and "Done:" not in again
    assert log(cast.stranger, other) == []


def test_more_than_can_be_taken_at_once_says_what_is_left(
    ada: Person,
    cast: Cast,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hooks.services.MOST_REPLAYED", 2)
    made, _ = failed(cast.owner, receiver, *[dt.timedelta(hours=1)] * 3)
    path = f"/staff/hooks/endpoint/{row_of(cast.owner, made).pk}/replay-failed/"
    form = {"reason": WHY, "since": f"{now() - dt.timedelta(hours=3):%Y-%m-%d %H:%M}"}
    text = ada.browser.post(path, form, follow=True).content.decode()
    assert "2 deliveries are sent again. 1 older than these are left" in text
    assert [row.state for row in rows(cast.owner)] == ["failed", "pending", "pending"], "the newest go first"


def test_a_disabled_endpoint_is_replayed_by_nobody(ada: Person, cast: Cast, receiver: Receiver) -> None:
    made, _ = failed(cast.owner, receiver, dt.timedelta(hours=1))
    change(cast.owner, made, state=Endpoint.State.DISABLED)
    (row,) = rows(cast.owner)
    for path, more in (
        (f"delivery/{row.pk}/replay/", {}),
        (f"endpoint/{row.endpoint_id}/replay-failed/", {"since": "2026-01-01T00:00"}),
    ):
        answer = ada.browser.post(f"/staff/hooks/{path}", {"reason": WHY, **more})
        assert answer.status_code == 422 and "is disabled" in answer.content.decode()
    assert deliver_due() == 0 and not StaffAction.objects.filter(organisation=cast.owner.tenant.pk).exists()


@pytest.mark.parametrize(
    "since", ["", "yesterday", "9999-12-31T23:59", "0001-01-01", "2026-13-45T00:00", "\x00", "1" * 400]
)
def test_a_moment_nobody_can_mean_is_refused_or_harmless(
    ada: Person,
    cast: Cast,
    receiver: Receiver,
    since: str,
) -> None:
    made = subscribe(cast.owner, receiver.url)
    path = f"/staff/hooks/endpoint/{row_of(cast.owner, made).pk}/replay-failed/"
    assert ada.browser.post(path, {"reason": WHY, "since": since}).status_code in (302, 422)


def test_staff_see_the_host_and_what_became_of_it_but_nothing_of_the_customers(
    ada: Person,
    cast: Cast,
    receiver: Receiver,
) -> None:
    made, _ = failed(cast.owner, receiver, dt.timedelta(hours=1))
    endpoint = row_of(cast.owner, made)
    (row,) = rows(cast.owner)
    with tenant_scope(cast.owner.tenant.id):
        Delivery.objects.update(excerpt="said in confidence")
    pages = [
        f"endpoint/?q={cast.owner.tenant.slug}",
        f"endpoint/{endpoint.pk}/change/",
        f"delivery/?q={cast.owner.tenant.slug}",
        f"delivery/{row.pk}/change/",
        f"deliverytry/?q={cast.owner.tenant.slug}",
    ]
    for page in pages:
        answer = ada.browser.get(f"/staff/hooks/{page}")
        text = answer.content.decode()
        assert answer.status_code == 200 and cast.owner.tenant.name in text, page
        for hidden in ("token-in-path", "said in confidence", endpoint.secret, made["signing_secret"]):
            assert hidden not in text, (page, hidden)
    assert "127.0.0.1" in ada.browser.get(f"/staff/hooks/{pages[1]}").content.decode()
    for guess in ("url__startswith=http", "secret__startswith=g", "excerpt__contains=said"):
        assert ada.browser.get(f"/staff/hooks/endpoint/?{guess}").status_code in (302, 400)


def test_who_is_not_staff_finds_no_door(cast: Cast, receiver: Receiver) -> None:
    failed(cast.owner, receiver, dt.timedelta(hours=1))
    (row,) = rows(cast.owner)
    answer = cast.owner.browser.post(f"/staff/hooks/delivery/{row.pk}/replay/", {"reason": WHY})
    assert answer.status_code in (302, 403, 404)
    assert deliver_due() == 0
