"""Deliveries to a real server on this machine: signed, retried, and sent again when asked."""

import datetime as dt

import openai
import pytest
from django.core import mail

from billing.services.entitlements import override_set
from hooks import services
from hooks.delivery import DELAYS, JITTER, deliver_due
from hooks.models import Delivery, DeliveryTry, Event
from hooks.tasks import keep
from kit.clock import now
from kit.ids import parse_id
from tenants.scope import tenant_scope
from tenants.services.organisations import project_create, tenant_set_status
from tests.conftest import Cast
from tests.hooks.receiver import (
    FAILED,
    SUCCEEDED,
    Receiver,
    Taken,
    bring_forward,
    change,
    happen,
    log,
    row_of,
    subscribe,
    unwrap,
)


def test_a_delivery_is_signed_as_the_official_client_checks_it(cast: Cast, receiver: Receiver) -> None:
    made = subscribe(cast.owner, receiver.url)
    event = happen(cast.owner, identifier="ftjob-7")
    assert deliver_due() == 1
    (taken,) = receiver.taken
    opened = unwrap(taken, made["signing_secret"])
    assert (opened.id, opened.type, opened.data.id) == (event, FAILED, "ftjob-7")
    assert taken.event == {
        "id": event, "object": "event", "type": FAILED, "created_at": opened.created_at, "data": {"id": "ftjob-7"},
    }  # fmt: skip
    assert taken.headers["webhook-id"] == event
    assert taken.headers["content-type"] == "application/json"
    with pytest.raises(openai.InvalidWebhookSignatureError):
        unwrap(Taken(taken.path, taken.headers, taken.body.replace(b"-7", b"-8")), made["signing_secret"])
    (seen,) = log(cast.owner, made)
    assert seen["state"] == "delivered"
    assert [(one["number"], one["status_code"], one["error"]) for one in seen["tries"]] == [(1, 204, None)]


def test_an_event_goes_to_those_of_its_project_that_asked_for_it(cast: Cast, receiver: Receiver) -> None:
    asked, other = subscribe(cast.owner, receiver.url, FAILED), subscribe(cast.owner, receiver.url, SUCCEEDED)
    foreign = subscribe(cast.stranger, receiver.url, FAILED)
    happen(cast.owner, FAILED)
    assert deliver_due() == 1
    assert [len(log(cast.owner, one)) for one in (asked, other)] == [1, 0]
    assert log(cast.stranger, foreign) == []


def test_what_is_rolled_back_is_announced_to_nobody(cast: Cast, receiver: Receiver) -> None:
    made = subscribe(cast.owner, receiver.url)
    with pytest.raises(RuntimeError):
        with tenant_scope(cast.owner.tenant.id):
            services.event_publish(project_id=cast.owner.project.id, type=FAILED, data={"id": "ftjob-1"})
            raise RuntimeError
    assert deliver_due() == 0
    assert log(cast.owner, made) == []


def test_a_failing_endpoint_is_tried_ten_times_at_growing_distances(cast: Cast, receiver: Receiver) -> None:
    receiver.says(500)
    made = subscribe(cast.owner, receiver.url)
    happen(cast.owner)
    for number, pause in enumerate(DELAYS[1:], 1):
        assert deliver_due() == 1
        (seen,) = log(cast.owner, made)
        assert (seen["state"], len(seen["tries"])) == ("pending", number)
        wait = seen["next_try_at"] - seen["tries"][-1]["at"]
        assert pause * (1 - JITTER) - 2 <= wait <= pause * (1 + JITTER) + 2
        assert deliver_due() == 0, "nothing is sent before its time"
        bring_forward(cast.owner)
    assert deliver_due() == 1
    (seen,) = log(cast.owner, made)
    assert (seen["state"], seen["next_try_at"], len(seen["tries"])) == ("failed", None, 10)
    assert {one.headers["webhook-id"] for one in receiver.taken} == {seen["event"]["id"]}
    assert seen["tries"][0]["error"] == "It answered 500."
    assert seen["tries"][0]["response"] == "said so"


def test_a_redirect_is_not_followed(cast: Cast, receiver: Receiver) -> None:
    receiver.says(302, Location=receiver.url + "/elsewhere")
    made = subscribe(cast.owner, receiver.url)
    happen(cast.owner)
    deliver_due()
    assert [one.path for one in receiver.taken] == ["/hook"]
    (seen,) = log(cast.owner, made)
    assert seen["state"] == "pending"
    assert "Redirects are not followed" in seen["tries"][0]["error"]


def test_410_disables_the_endpoint_and_its_admins_are_told(cast: Cast, receiver: Receiver) -> None:
    receiver.says(410)
    made = subscribe(cast.owner, receiver.url)
    happen(cast.owner)
    happen(cast.owner)
    mail.outbox.clear()
    deliver_due()
    assert len(receiver.taken) == 1, "nothing more is sent"
    found = cast.owner.api.get(f"/v1/webhook_endpoints/{made['id']}").json()
    assert (found["x_state"], found["x_reason"]) == ("disabled", "gone")
    assert {one["state"] for one in log(cast.owner, made)} == {"failed"}
    (letter,) = mail.outbox
    assert letter.to == [cast.owner.user.email]
    assert "410" in letter.body and found["name"] in letter.subject
    assert f"/webhooks/{made['id']}" in letter.body
    happen(cast.owner)
    assert len(log(cast.owner, made)) == 2, "a disabled endpoint is told of nothing"


def test_retry_after_is_honoured_and_rests_the_endpoint(cast: Cast, receiver: Receiver) -> None:
    receiver.says(429, Retry_After="1200")
    made = subscribe(cast.owner, receiver.url)
    happen(cast.owner)
    happen(cast.owner)
    assert deliver_due() == 1, "the second waits as well"
    waiting = next(one for one in log(cast.owner, made) if one["tries"])
    assert 1190 <= waiting["next_try_at"] - waiting["tries"][0]["at"] <= 1202
    rest = row_of(cast.owner, made).resting_until
    assert rest is not None and dt.timedelta(minutes=19) < rest - now() <= dt.timedelta(minutes=20)


@pytest.mark.parametrize("header", ["-5", "tomorrow", "", "99999999999999999999", "Wed, 21 Oct 1015 07:28:00 GMT"])
def test_a_senseless_retry_after_delays_a_day_at_most(cast: Cast, receiver: Receiver, header: str) -> None:
    receiver.says(503, Retry_After=header)
    made = subscribe(cast.owner, receiver.url)
    happen(cast.owner)
    deliver_due()
    (seen,) = log(cast.owner, made)
    assert seen["next_try_at"] - seen["tries"][0]["at"] <= 86_401


def test_an_endpoint_that_only_failed_for_five_days_is_disabled(cast: Cast, receiver: Receiver) -> None:
    receiver.says(500)
    made = subscribe(cast.owner, receiver.url)
    happen(cast.owner)
    deliver_due()
    since = now() - dt.timedelta(days=5)
    change(cast.owner, made, failing_since=since, failed_at=now() - dt.timedelta(days=1))
    bring_forward(cast.owner)
    mail.outbox.clear()
    deliver_due()
    found = cast.owner.api.get(f"/v1/webhook_endpoints/{made['id']}").json()
    assert (found["x_state"], found["x_reason"]) == ("disabled", "failing")
    assert len(mail.outbox) == 1
    again = cast.owner.api.post(f"/v1/webhook_endpoints/{made['id']}", {"x_state": "enabled"}).json()
    assert (again["x_state"], again["x_reason"], again["x_failing_since"]) == ("enabled", None, None)


def test_two_failures_with_quiet_weeks_between_are_not_five_days_of_failing(cast: Cast, receiver: Receiver) -> None:
    receiver.says(500)
    made = subscribe(cast.owner, receiver.url)
    happen(cast.owner)
    long_ago = now() - dt.timedelta(days=20)
    change(cast.owner, made, failing_since=long_ago, failed_at=long_ago)
    deliver_due()
    row = row_of(cast.owner, made)
    assert row.state == "enabled"
    assert row.failing_since is not None and row.failing_since > now() - dt.timedelta(minutes=1)


def test_a_success_ends_the_spell(cast: Cast, receiver: Receiver) -> None:
    made = subscribe(cast.owner, receiver.url)
    change(cast.owner, made, failing_since=now() - dt.timedelta(days=9), failures=7, timeouts=2)
    happen(cast.owner)
    deliver_due()
    row = row_of(cast.owner, made)
    assert (row.state, row.failures, row.timeouts, row.failing_since) == ("enabled", 0, 0, None)


def test_a_suspended_organisation_is_sent_nothing_until_it_works_again(cast: Cast, receiver: Receiver) -> None:
    subscribe(cast.owner, receiver.url)
    happen(cast.owner)
    for status, sent in (("suspended", 0), ("active", 1)):
        with tenant_scope(cast.owner.tenant.id):
            tenant_set_status(tenant=cast.owner.tenant, status=status, reason="tests")
        assert deliver_due() == sent


def test_a_replay_sends_the_same_event_again(cast: Cast, receiver: Receiver) -> None:
    made = subscribe(cast.owner, receiver.url)
    event = happen(cast.owner)
    deliver_due()
    (seen,) = log(cast.owner, made)
    answer = cast.owner.api.post(f"/v1/webhook_endpoints/{made['id']}/deliveries/{seen['id']}/replay")
    assert (answer.status_code, answer.json()["state"]) == (200, "pending")
    assert deliver_due() == 1
    assert [one.headers["webhook-id"] for one in receiver.taken] == [event, event]
    (seen,) = log(cast.owner, made)
    assert [one["number"] for one in seen["tries"]] == [1, 2]


def test_a_replay_after_the_last_try_begins_the_schedule_anew(cast: Cast, receiver: Receiver) -> None:
    receiver.says(500)
    made = subscribe(cast.owner, receiver.url)
    happen(cast.owner)
    with tenant_scope(cast.owner.tenant.id):
        Delivery.objects.update(step=9)
    deliver_due()
    (seen,) = log(cast.owner, made)
    assert seen["state"] == "failed"
    path = f"/v1/webhook_endpoints/{made['id']}/deliveries/{seen['id']}/replay"
    cast.owner.api.post(path)
    deliver_due()
    assert log(cast.owner, made)[0]["state"] == "pending"
    cast.owner.api.post(f"/v1/webhook_endpoints/{made['id']}", {"x_state": "disabled"})
    refused = cast.owner.api.post(path)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "webhook_endpoint_disabled")


def test_events_are_forgotten_after_thirty_days_with_their_log(cast: Cast, receiver: Receiver) -> None:
    made = subscribe(cast.owner, receiver.url)
    old, new = happen(cast.owner), happen(cast.owner)
    deliver_due()
    with tenant_scope(cast.owner.tenant.id):
        key = parse_id(Event.prefix, old)
        Event.objects.filter(pk=key).update(created_at=now() - dt.timedelta(days=31))
    assert keep()["expired"] >= 1
    assert [one["event"]["id"] for one in log(cast.owner, made)] == [new]
    with tenant_scope(cast.owner.tenant.id):
        assert DeliveryTry.objects.count() == 1


def test_two_projects_share_a_receiver_and_no_event(cast: Cast, receiver: Receiver) -> None:
    made = subscribe(cast.owner, receiver.url)
    with tenant_scope(cast.owner.tenant.id):
        override_set(limits={"projects": 99}, reason="tests", created_by="tests")
        other = project_create(name="Other")
        services.event_publish(project_id=other.pk, type=FAILED, data={"id": "ftjob-1"})
    assert deliver_due() == 0
    assert log(cast.owner, made) == []
