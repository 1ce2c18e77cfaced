"""Deliveries to a real server on this machine: signed, retried, once at a time, and no endpoint in another's way."""

import datetime as dt
import threading
import time
from typing import Any

import openai
import pytest
from django.core import mail
from django.db import connections

from hooks import delivery, services
from hooks.delivery import DELAYS, JITTER, claims, deliver_due, is_due, settle
from hooks.models import Delivery, DeliveryTry, Event
from hooks.sending import Answer
from hooks.tasks import deliver, keep, tick
from kit.clock import now
from kit.ids import parse_id
from tenants.scope import ops_scope, tenant_scope
from tests.conftest import Cast, make_person
from tests.hooks.receiver import (
    FAILED,
    SUCCEEDED,
    Raw,
    Receiver,
    Taken,
    bring_forward,
    change,
    happen,
    log,
    row_of,
    subscribe,
)


def unwrap(taken: Taken, secret: str) -> Any:
    """What the official client makes of a delivery."""
    return openai.OpenAI(api_key="none", webhook_secret=secret).webhooks.unwrap(taken.body, taken.headers)


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


def test_both_secrets_sign_while_one_replaces_the_other(cast: Cast, receiver: Receiver) -> None:
    old = subscribe(cast.owner, receiver.url)
    path = f"/v1/webhook_endpoints/{old['id']}/rotate_secret"
    new = cast.owner.api.post(path, {"keep_old_secret_active_for_24_hours": True}).json()
    happen(cast.owner)
    deliver_due()
    for secret in (old["signing_secret"], new["signing_secret"]):
        unwrap(receiver.taken[0], secret)
    change(cast.owner, old, old_secret_until=now() - dt.timedelta(seconds=1))
    happen(cast.owner)
    deliver_due()
    unwrap(receiver.taken[1], new["signing_secret"])
    with pytest.raises(openai.InvalidWebhookSignatureError):
        unwrap(receiver.taken[1], old["signing_secret"])


def test_a_rotation_ends_the_old_secret_at_once_unless_it_is_kept(cast: Cast, receiver: Receiver) -> None:
    old = subscribe(cast.owner, receiver.url)
    new = cast.owner.api.post(f"/v1/webhook_endpoints/{old['id']}/rotate_secret").json()
    happen(cast.owner)
    deliver_due()
    assert len(receiver.taken[0].headers["webhook-signature"].split()) == 1
    unwrap(receiver.taken[0], new["signing_secret"])


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


@pytest.mark.slow
def test_a_silent_endpoint_holds_up_nobody_and_is_rested(
    cast: Cast, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hooks.delivery.send", _with_less_patience)
    silent = Raw(lambda sock: time.sleep(3))
    other = make_person("quick")
    dead, alive = subscribe(cast.owner, silent.url), subscribe(other, receiver.url)
    moments: list[float] = []
    receiver.answer = lambda taken: (moments.append(time.monotonic()), (204, {}, b""))[1]
    for _ in range(3):
        happen(cast.owner)
    for _ in range(5):
        happen(other)
    began = time.monotonic()
    deliver_due()
    silent.close()
    assert len(moments) == 5 and max(moments) - began < 1.0, "before the silent one has timed out"
    assert {one["state"] for one in log(other, alive)} == {"delivered"}
    row = row_of(cast.owner, dead)
    assert row.timeouts == 3
    assert row.resting_until is not None and row.resting_until > now(), "the breaker is open"
    assert not is_due()


def _with_less_patience(url: str, **options: Any) -> Answer:
    from hooks.sending import send

    return send(url, **options, seconds=1.0)


def test_one_tenant_takes_few_of_the_lanes(cast: Cast, receiver: Receiver) -> None:
    for number in range(6):
        subscribe(cast.owner, receiver.url, name=f"bot {number}")
    happen(cast.owner)
    taken = list(claims(16))
    assert len(taken) == delivery.TENANT_LANES
    for claim in taken:
        assert settle(claim, Answer(status=204))
    assert deliver_due() == 2


def test_a_tenant_with_many_endpoints_does_not_fill_the_list_of_those_that_wait(
    cast: Cast, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "LISTED", delivery.TENANT_LANES + 1)
    for number in range(7):
        subscribe(cast.owner, receiver.url, name=f"bot {number}")
    other = make_person("later")
    subscribe(other, receiver.url)
    happen(cast.owner)
    happen(other)
    tenants = [claim.tenant_id for claim in claims(16)]
    assert tenants.count(cast.owner.tenant.id) == delivery.TENANT_LANES
    assert tenants.count(other.tenant.id) == 1
    assert list(claims(16)) == [], "its lanes are taken"


def test_workers_side_by_side_send_each_event_once(cast: Cast, receiver: Receiver) -> None:
    made = subscribe(cast.owner, receiver.url)
    flying, most = [0], [0]

    def slowly(taken: Taken) -> tuple[int, dict[str, str], bytes]:
        flying[0] += 1
        most[0] = max(most[0], flying[0])
        time.sleep(0.03)
        flying[0] -= 1
        return 204, {}, b""

    receiver.answer = slowly
    events = {happen(cast.owner) for _ in range(12)}
    workers = [threading.Thread(target=_work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    deliver_due()  # where all four found each other's place taken
    assert sorted(one.headers["webhook-id"] for one in receiver.taken) == sorted(events)
    assert most == [1], "one at a time to one endpoint"
    assert {one["state"] for one in log(cast.owner, made)} == {"delivered"}


def _work() -> None:
    try:
        delivery._run()
    finally:
        connections.close_all()


def test_no_more_than_two_runs_work_at_a_time() -> None:
    with delivery._place() as first, delivery._place() as second, delivery._place() as third:
        assert (first, second, third) == (True, True, False)
    with delivery._place() as again:
        assert again


def test_what_a_killed_run_was_sending_is_sent_again_and_its_late_word_has_no_effect(
    cast: Cast, receiver: Receiver
) -> None:
    made = subscribe(cast.owner, receiver.url)
    happen(cast.owner)
    (lost,) = claims(1)
    assert deliver_due() == 0, "the lease holds"
    change(cast.owner, made, busy_until=now())
    assert deliver_due() == 1
    assert not settle(lost, Answer(status=500, error="It answered 500."))
    (seen,) = log(cast.owner, made)
    assert (seen["state"], len(seen["tries"])) == ("delivered", 1)


def test_a_claim_that_begins_too_late_is_left_to_the_next(cast: Cast, receiver: Receiver) -> None:
    made = subscribe(cast.owner, receiver.url)
    happen(cast.owner)
    (claim,) = claims(1)
    object.__setattr__(claim, "claimed", claim.claimed - delivery.LATEST_START - 1)
    assert delivery._send(claim) is None
    assert receiver.taken == []
    assert log(cast.owner, made)[0]["state"] == "pending"


def test_an_endpoint_deleted_on_the_way_is_no_error(cast: Cast, receiver: Receiver) -> None:
    made = subscribe(cast.owner, receiver.url)
    happen(cast.owner)
    (claim,) = claims(1)
    cast.owner.api.delete(f"/v1/webhook_endpoints/{made['id']}")
    assert not settle(claim, Answer(status=204))


def test_a_suspended_organisation_is_sent_nothing_until_it_works_again(cast: Cast, receiver: Receiver) -> None:
    from tenants.services.organisations import tenant_set_status

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


def test_the_tick_rings_only_for_what_is_due(cast: Cast, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    rung: list[str] = []
    monkeypatch.setattr("hooks.tasks.current_app.send_task", lambda name, **options: rung.append(name))
    assert tick() is False
    subscribe(cast.owner, receiver.url)
    happen(cast.owner)
    rung.clear()
    assert tick() is True
    assert rung == ["hooks.deliver"]
    assert deliver() == 1
    assert tick() is False


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


def test_secrets_move_to_a_new_server_key_and_a_lost_key_is_said(cast: Cast, receiver: Receiver, settings: Any) -> None:
    made = subscribe(cast.owner, receiver.url)
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "x" * 60
    assert services.secrets_renew() >= 1
    assert services.secrets_renew() == 0
    settings.SECRET_KEY_FALLBACKS = []
    happen(cast.owner)
    deliver_due()
    unwrap(receiver.taken[0], made["signing_secret"])
    settings.SECRET_KEY = "y" * 60
    happen(cast.owner)
    deliver_due()
    seen = log(cast.owner, made)[0]
    assert (seen["state"], len(receiver.taken)) == ("blocked", 1)
    assert "Rotate the secret" in seen["tries"][0]["error"]
    settings.SECRET_KEY = "x" * 60
    with ops_scope("leave nothing behind that later tests cannot open"):
        row_of(cast.owner, made).delete()


def test_a_secret_lies_sealed_and_staff_see_none(cast: Cast, receiver: Receiver) -> None:
    made = subscribe(cast.owner, receiver.url)
    row = row_of(cast.owner, made)
    assert made["signing_secret"] not in row.secret
    from ops.tables import SECRET

    assert {"secret", "old_secret"} <= SECRET


def test_two_projects_share_a_receiver_and_no_event(cast: Cast, receiver: Receiver) -> None:
    from tenants.services.organisations import project_create

    made = subscribe(cast.owner, receiver.url)
    with tenant_scope(cast.owner.tenant.id):
        from billing.services.entitlements import override_set

        override_set(limits={"projects": 99}, reason="tests", created_by="tests")
        other = project_create(name="Other")
        services.event_publish(project_id=other.pk, type=FAILED, data={"id": "ftjob-1"})
    assert deliver_due() == 0
    assert log(cast.owner, made) == []
