"""Whatever happens while a batch runs: what it has is kept and charged, the rest is told of and costs nothing."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest
from django.db import connections
from pytest_django.live_server_helper import LiveServer

from batches.models import Batch
from batches.services import batch_create, turns
from batches.worker import asking, duty, watch
from billing.services.limits import key_limits_set, member_limits_set
from data.errors import FileInUse
from data.models import File
from data.services import file_erase
from kit.clock import now
from kit.ids import parse_id
from registry.bases import catalogue
from tenants.models import ApiKey, Member, Project, Tenant
from tenants.scope import tenant_scope
from tenants.services.keys import key_create, key_revoke
from tests.batches.making import WRITTEN, change, chat, check_books, client, events, made, read, row, text_of
from tests.gateway.writing_engine import CHAT, WRITER, Wired, alive, on_plan, prompt_of, until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("worker")]  # starts servers


@contextmanager
def working() -> Iterator[threading.Thread]:
    """A worker in a thread of this process."""

    def run() -> None:
        try:
            duty.work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread
    finally:
        watch.draining.set()
        thread.join(60)
        assert not thread.is_alive()
        watch.draining.clear()


def half_done(writing: Wired, official: openai.OpenAI, lines: int = 12) -> tuple[Any, Any, list[str]]:
    """A batch of which some lines are answered at once and the others wait for `go`: (batch, plan, waiting ids)."""
    quick, slow = writing.word(), writing.word()
    writing.engine.plan(quick, "yes")
    plan = writing.engine.plan(slow, "a", "b", "c", hold_after=1)
    waits = [f"slow-{i}" for i in range(lines // 2)]
    calls = [chat(f"quick-{i}", quick) for i in range(lines // 2)] + [chat(name, slow) for name in waits]
    return made(official, calls), plan, waits


def ended(official: openai.OpenAI, batch: Any, thread: threading.Thread) -> Any:
    """The batch once the worker is through with it."""
    thread.join(30)
    assert not thread.is_alive()
    return official.batches.retrieve(batch.id)


def test_a_cancelled_batch_keeps_what_it_has_and_stops_within_seconds(server: LiveServer, writing: Wired) -> None:
    ada = on_plan("cancels")
    official = client(server, ada)
    batch, _, waits = half_done(writing, official)
    with working() as thread:
        until(lambda: row(ada, batch).completed == 6)
        asked = now()
        assert official.batches.cancel(batch.id).status == "cancelling"
        done = ended(official, batch, thread)
    assert done.status == "cancelled" and now() - asked < dt.timedelta(seconds=8)
    assert done.request_counts.to_dict() == {"total": 12, "completed": 6, "failed": 6}
    assert len(read(official, done.output_file_id)) == 6
    left = read(official, done.error_file_id)
    assert sorted(left) == waits and {line["error"]["code"] for line in left.values()} == {"batch_cancelled"}
    assert official.batches.cancel(batch.id).status == "cancelled", "twice is the same"
    assert len(events(ada, 6)) == 6, "what was broken off costs nothing"
    until(lambda: not alive(ada))
    assert all(one.cancelled for one in writing.engine.asked if not one.ended), "nor does the engine go on"
    check_books(ada)


def test_a_batch_that_nobody_works_on_is_cancelled_as_well(server: LiveServer, writing: Wired) -> None:
    ada = on_plan("early")
    official, word = client(server, ada), writing.word()
    batch = made(official, [chat("a", word)])
    official.batches.cancel(batch.id)
    duty.work()
    done = official.batches.retrieve(batch.id)
    assert done.status == "cancelled" and done.output_file_id is done.error_file_id is None
    assert not writing.engine.of(word) and not events(ada)


def test_a_batch_whose_window_is_over_expires(server: LiveServer, writing: Wired) -> None:
    ada = on_plan("expires")
    official = client(server, ada)
    batch, _, waits = half_done(writing, official)
    with working() as thread:
        until(lambda: row(ada, batch).completed == 6)
        change(batch, expires_at=now() - dt.timedelta(seconds=1))
        done = ended(official, batch, thread)
    assert done.status == "expired" and done.expired_at
    left = read(official, done.error_file_id)
    assert sorted(left) == waits and {line["error"]["code"] for line in left.values()} == {"batch_expired"}
    assert len(read(official, done.output_file_id)) == len(events(ada, 6)) == 6
    with pytest.raises(openai.ConflictError, match="expired: there is nothing left to cancel"):
        official.batches.cancel(batch.id)


def test_a_batch_that_waits_for_something_expires_all_the_same(server: LiveServer, writing: Wired) -> None:
    ada = on_plan("waits")
    official = client(server, ada)
    batch = made(official, [chat("a", "w")])
    change(batch, not_before=now() + dt.timedelta(hours=1), expires_at=now() - dt.timedelta(seconds=1))
    assert duty.work() == 1
    assert official.batches.retrieve(batch.id).status == "expired"


def test_a_revoked_key_ends_its_batch_and_says_so(server: LiveServer, writing: Wired) -> None:
    ada = on_plan("revokes")
    with tenant_scope(ada.tenant.id):
        key, text = key_create(project=ada.project, name="short-lived", created_by=ada.user)
    official, theirs = client(server, ada), client(server, text)
    batch, plan, _ = half_done(writing, theirs, lines=40)
    with working() as thread:
        until(lambda: row(ada, batch).completed == 20)
        with tenant_scope(ada.tenant.id):
            key_revoke(key=ApiKey.objects.get(pk=key.pk))
        threading.Event().wait(2.5)  # what the gateway had read of the key is old by now
        plan.go.set()
        done = ended(official, batch, thread)
    assert done.status == "cancelled" and done.errors.data[0].code == "key_refused"
    assert done.request_counts.completed < 40
    assert done.request_counts.completed + done.request_counts.failed == 40
    assert len(events(ada, done.request_counts.completed)) == done.request_counts.completed


def test_a_model_that_is_gone_fails_the_lines_that_come_after(
    server: LiveServer, writing: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = on_plan("undeploys")
    official, word = client(server, ada), writing.word()
    writing.engine.plan(word, "yes")
    batch = made(official, [chat(f"{i}", word) for i in range(4)])

    def accept(*args: Any) -> Any:
        found = accepted(*args)
        monkeypatch.delitem(catalogue(), WRITER)  # as if it had been undeployed since
        return found

    accepted = duty.batch_accept
    monkeypatch.setattr(duty, "batch_accept", accept)
    from gateway import routes

    monkeypatch.setattr(routes, "AGAIN_SECONDS", 0.0)
    duty.work()
    done = official.batches.retrieve(batch.id)
    assert done.status == "completed" and done.x_failed_by_code == {"model_not_found": 4}  # type: ignore[attr-defined]
    assert not events(ada)


def test_the_input_file_can_be_deleted_and_not_erased(server: LiveServer, writing: Wired) -> None:
    ada = on_plan("deletes")
    official = client(server, ada)
    batch, plan, _ = half_done(writing, official)
    with working() as thread:
        until(lambda: row(ada, batch).completed == 6)
        assert official.files.delete(batch.input_file_id).deleted
        with tenant_scope(ada.tenant.id), pytest.raises(FileInUse, match="batch still reads"):
            file_erase(file=File.objects.get(pk=parse_id("file-", batch.input_file_id)))
        plan.go.set()
        done = ended(official, batch, thread)
    assert done.status == "completed" and len(read(official, done.output_file_id)) == 12
    with tenant_scope(ada.tenant.id):
        file_erase(file=File.objects.get(pk=parse_id("file-", batch.input_file_id)))


def test_a_spend_limit_holds_a_batch_up_until_it_is_raised(server: LiveServer, writing: Wired) -> None:
    ada = on_plan("spends")
    word = writing.word()
    writing.engine.plan(word, "yes")
    held = prompt_of(word) * 50 + 20 * WRITTEN
    with tenant_scope(ada.tenant.id):
        key, text = key_create(
            project=ada.project, name="poor", created_by=ada.user, limits={"monthly_spend_nano": 5 * held}
        )
    official = client(server, text)
    batch = made(official, [chat(f"{i}", word) for i in range(40)])
    duty.work()
    waits = official.batches.retrieve(batch.id)
    assert waits.status == "in_progress" and waits.x_waits_for == "spend_limit"  # type: ignore[attr-defined]
    assert waits.request_counts is not None and 5 <= waits.request_counts.completed < 40
    spent = row(ada, batch).cost_nano
    assert spent <= 5 * held and spent == sum(one.cost_nano for one in events(ada, waits.request_counts.completed))
    with tenant_scope(ada.tenant.id):
        key_limits_set(key=ApiKey.objects.get(pk=key.pk), name="rich", limits={})
    threading.Event().wait(2.5)
    change(batch, not_before=None)
    duty.work()
    done = official.batches.retrieve(batch.id)
    assert done.status == "completed" and done.x_waits_for is None  # type: ignore[attr-defined]
    assert len(read(official, done.output_file_id)) == len(events(ada, 40)) == 40
    check_books(ada)


def test_the_rates_of_live_calls_do_not_bind_a_batch(server: LiveServer, writing: Wired) -> None:
    ada = on_plan("rates")
    word = writing.word()
    writing.engine.plan(word, "yes")
    with tenant_scope(ada.tenant.id):
        _, text = key_create(
            project=ada.project, name="slow", created_by=ada.user,
            limits={"requests_per_minute": 2, "concurrency": 1, "tokens_per_minute": 200},
        )  # fmt: skip
    official = client(server, text)
    batch = made(official, [chat(f"{i}", word) for i in range(20)])
    duty.work()
    assert official.batches.retrieve(batch.id).status == "completed"
    answer = writing.client(text).chat.completions.with_raw_response.create(
        model=WRITER, messages=[{"role": "user", "content": word}], max_tokens=20
    )
    assert answer.headers["x-ratelimit-remaining-requests"] == "1", "nor does it use them up"


def test_a_suspended_organisations_batch_waits(server: LiveServer, writing: Wired) -> None:
    ada = on_plan("suspended")
    official, word = client(server, ada), writing.word()
    writing.engine.plan(word, "yes")
    batch = made(official, [chat("a", word)])
    with tenant_scope(ada.tenant.id):
        Tenant.objects.update(status=Tenant.Status.SUSPENDED)
    duty.work()
    assert row(ada, batch).waits_for == "organization_suspended"
    with tenant_scope(ada.tenant.id):
        Tenant.objects.update(status=Tenant.Status.ACTIVE)
    change(batch, not_before=None)
    duty.work()
    assert official.batches.retrieve(batch.id).status == "completed"


def test_a_gateway_that_is_away_is_waited_for(
    server: LiveServer, writing: Wired, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = on_plan("away")
    official, word = client(server, ada), writing.word()
    writing.engine.plan(word, "yes")
    batch = made(official, [chat("a", word)])
    monkeypatch.setattr(asking, "PATIENCE", 3)
    settings.GATEWAY_URL = "http://127.0.0.1:9"
    duty.work()
    waits = official.batches.retrieve(batch.id)
    assert waits.status == "in_progress" and waits.x_waits_for == "engine"  # type: ignore[attr-defined]
    settings.GATEWAY_URL = writing.url
    change(batch, not_before=None)
    duty.work()
    assert official.batches.retrieve(batch.id).status == "completed"


def test_a_fault_of_ours_is_tried_again_and_then_told(server: LiveServer, writing: Wired) -> None:
    ada = on_plan("faults")
    official, word, other = client(server, ada), writing.word(), writing.word()
    writing.engine.plan(word, "yes", fail_after=0, error=("bad_request", "It cannot be."))
    writing.engine.plan(other, "yes")
    batch = made(official, [chat("bad", word), chat("good", other)])
    duty.work()
    done = official.batches.retrieve(batch.id)
    assert done.status == "completed" and set(read(official, done.error_file_id)) == {"bad"}
    assert len(events(ada, 1)) == 1


def test_batches_of_two_organisations_take_turns(
    server: LiveServer, writing: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bob = on_plan("ada"), on_plan("bob")
    word = writing.word()
    writing.engine.plan(word, "yes", each_s=0.05)
    monkeypatch.setattr(asking, "TURN_SECONDS", 0.5)
    many = [made(client(server, ada), [chat(f"{i}", word) for i in range(60)]) for _ in range(2)]
    one = made(client(server, bob), [chat("a", word)])
    order: list[Any] = []
    served = duty.serve
    monkeypatch.setattr(duty, "serve", lambda turn: (order.append(turn.tenant_id), served(turn)))
    duty.work()
    assert order.index(bob.tenant.id) <= 1, "before the second one of ada"
    assert len(order) > 3, "a long one gives its place to those that wait"
    for person, batch in [(ada, many[0]), (ada, many[1]), (bob, one)]:
        assert row(person, batch).state == Batch.State.COMPLETED
    assert len(events(ada, 120)) == 120


def test_a_worker_that_is_asked_to_leave_stores_what_has_come(server: LiveServer, writing: Wired) -> None:
    ada = on_plan("leaves")
    official = client(server, ada)
    batch, plan, _ = half_done(writing, official)
    with working():
        until(lambda: sum(1 for one in writing.engine.asked if one.made == 1 and not one.ended) >= 6)
    found = row(ada, batch)
    assert found.state == Batch.State.IN_PROGRESS and found.completed == 6 and found.lease_expires_at is None
    plan.go.set()
    duty.work()
    done = official.batches.retrieve(batch.id)
    assert done.status == "completed" and len(read(official, done.output_file_id)) == 12
    assert len(events(ada, 12)) == 12


def test_a_worker_whose_lease_is_lost_writes_nothing_more(server: LiveServer, writing: Wired) -> None:
    ada = on_plan("zombie")
    official = client(server, ada)
    batch, plan, _ = half_done(writing, official)
    with working() as zombie:
        until(lambda: row(ada, batch).completed == 6)
        change(batch, lease_expires_at=now() - dt.timedelta(seconds=1))
        other = turns.turn_claim()
        assert other is not None
        zombie.join(20)
        assert not zombie.is_alive()
        plan.go.set()
        assert row(ada, batch).completed == 6
        duty.serve(other)
    done = official.batches.retrieve(batch.id)
    assert done.status == "completed" and len(read(official, done.output_file_id)) == 12
    assert len(events(ada, 12)) == 12
    check_books(ada)


def test_a_batch_from_the_console_has_the_limits_of_who_made_it(server: LiveServer, writing: Wired) -> None:
    ada = on_plan("console")
    official, word = client(server, ada), writing.word()
    writing.engine.plan(word, "yes")
    file = official.files.create(file=("calls.jsonl", text_of([chat("a", word)])), purpose="batch")
    with tenant_scope(ada.tenant.id):
        member_limits_set(member=Member.objects.get(user=ada.user), limits={"monthly_spend_nano": 10})
        batch = batch_create(
            project=ada.project, input_file_id=file.id, endpoint=CHAT, user_id=ada.user.pk, by="Ada"
        )  # fmt: skip
    duty.work()
    wire = official.batches.retrieve(batch.public_id)
    assert wire.x_waits_for == "spend_limit"  # type: ignore[attr-defined]
    with tenant_scope(ada.tenant.id):
        member_limits_set(member=Member.objects.get(user=ada.user), limits={})
    threading.Event().wait(2.5)
    change(wire, not_before=None)
    duty.work()
    assert official.batches.retrieve(batch.public_id).status == "completed"
    (event,) = events(ada, 1)
    assert event.key_id is None and event.kind == "batch_chat"


def test_an_archived_project_ends_its_batches(server: LiveServer, writing: Wired) -> None:
    ada = on_plan("archives")
    official, word = client(server, ada), writing.word()
    file = official.files.create(file=("calls.jsonl", text_of([chat("a", word)])), purpose="batch")
    with tenant_scope(ada.tenant.id):
        batch = batch_create(project=ada.project, input_file_id=file.id, endpoint=CHAT, user_id=ada.user.pk, by="Ada")
        Project.objects.filter(pk=ada.project.pk).update(archived_at=now())
    duty.work()
    with tenant_scope(ada.tenant.id):
        batch.refresh_from_db()
    assert batch.state == Batch.State.CANCELLED and batch.errors[0]["code"] == "key_refused"
    assert not writing.engine.of(word)
