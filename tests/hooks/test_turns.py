"""Whose deliveries are sent when: lanes, runs beside each other, and claims that outlive their run."""

import threading
import time
from typing import Any

import pytest
from django.db import connections

from hooks import delivery
from hooks.delivery import claims, deliver_due, is_due, settle
from hooks.sending import Answer, send
from hooks.tasks import deliver, tick
from kit.clock import now
from tests.conftest import Cast, make_person
from tests.hooks.receiver import (
    Raw,
    Receiver,
    Taken,
    change,
    happen,
    log,
    row_of,
    subscribe,
)


@pytest.mark.slow
def test_a_silent_endpoint_holds_up_nobody_and_is_rested(
    cast: Cast, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def with_less_patience(url: str, **options: Any) -> Answer:
        answer = send(url, **options, seconds=1.0)
        events.append("timed out" if answer.timed_out else "sent")
        return answer

    monkeypatch.setattr("hooks.delivery.send", with_less_patience)
    silent = Raw(lambda sock: time.sleep(3))
    other = make_person("quick")
    dead, alive = subscribe(cast.owner, silent.url), subscribe(other, receiver.url)
    for _ in range(3):
        happen(cast.owner)
    for _ in range(5):
        happen(other)
    deliver_due()
    silent.close()
    assert events == ["sent"] * 5 + ["timed out"] * 3, "before the silent one has timed out"
    assert {one["state"] for one in log(other, alive)} == {"delivered"}
    row = row_of(cast.owner, dead)
    assert row.timeouts == 3
    assert row.resting_until is not None and row.resting_until > now(), "the breaker is open"
    assert not is_due()


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
