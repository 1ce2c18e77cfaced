"""Pause, resume, retry and clone of jobs, and the stream of their events, through the API."""

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import connection

from billing.models import JobHold
from billing.services.entitlements import override_set
from config import embedded
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person
from tests.training.making import body, create, empty_queue, queued, read, reload
from training import states, streaming
from training.models import Job, JobEvent
from training.services.claiming import claim, slots_keep
from training.services.endings import job_block, job_give_back
from training.services.leases import Lease, Standing, lease_look, lease_renew
from training.services.requeueing import job_hold

pytestmark = pytest.mark.slow  # drives many jobs through the queue

JOBS = "/v1/fine_tuning/jobs"
HOST = "control-host"


@pytest.fixture(autouse=True)
def _one_place() -> None:
    """One place to train, and no job of another test."""
    empty_queue()
    slots_keep(host=HOST, count=1, kind="cpu-fp32", gpu_class="cpu")


def take() -> Lease:
    lease = claim(host=HOST, worker=f"{HOST}/1/{uuid.uuid4().hex[:4]}")
    assert lease is not None
    return lease


def test_a_job_whose_row_somebody_keeps_is_away_for_now_and_can_be_asked_for_again(cast: Cast) -> None:
    job = queued(cast.owner)
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '100ms'")
        try:
            with psycopg.connect(embedded.superuser_url(settings.HOME, embedded.DATABASE)) as keeper:
                keeper.execute("SELECT FROM training_job WHERE id = %s FOR UPDATE", [job.pk])
                answer = ask(cast.owner, job, "cancel")
        finally:
            cursor.execute("RESET lock_timeout")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert ask(cast.owner, job, "cancel").json()["status"] == "cancelled"


def ask(person: Person, job: Job, verb: str, body: Any = None) -> Any:
    return person.api.post(f"{JOBS}/{job.public_id}/{verb}", body if body is not None else {})


def held_nano(person: Person, job: Job) -> int:
    with tenant_scope(person.tenant.id):
        return int(JobHold.objects.get(job_id=job.pk, state="held").reserved_nano)


def test_a_waiting_job_is_paused_at_once_and_resumed_at_the_end_of_the_queue(cast: Cast) -> None:
    ada = cast.owner
    first, second = queued(ada), queued(ada)
    answer = ask(ada, first, "pause")
    body = answer.json()
    assert answer.status_code == 200
    assert (body["status"], body["x_blocked_by"], body["x_queue"]) == ("paused", "paused", None)
    again = ask(ada, first, "pause").json()
    assert again | {"estimated_finish": 0} == body | {"estimated_finish": 0}, "twice is the same, but for the clock"
    assert held_nano(ada, first) == first.ceiling_nano, "its price stays reserved"
    assert ask(ada, first, "resume").json()["status"] == "queued"
    assert take().job_id == second.pk
    with tenant_scope(ada.tenant.id):
        found = AuditEvent.objects.filter(action__startswith="job.").order_by("id")
        seen = list(found.values_list("action", flat=True))
    assert seen[-2:] == ["job.paused", "job.resumed"]


def test_a_running_job_is_asked_to_stop_and_keeps_what_it_has(cast: Cast) -> None:
    ada = cast.owner
    job = queued(ada)
    lease = take()
    assert ask(ada, job, "pause").json()["status"] == "running"
    assert lease_look(lease=lease).stop == "paused"
    job_block(lease=lease)
    row = reload(ada, job.public_id)
    assert (row.state, row.blocked_by, row.pause_requested_at, row.lease_token) == ("blocked", "paused", None, None)
    assert claim(host=HOST, worker=f"{HOST}/1/x") is None
    assert ask(ada, job, "resume").json()["status"] == "queued"
    assert take().attempt == 2


def test_a_pause_that_is_taken_back_in_time_ends_in_the_queue(cast: Cast) -> None:
    ada = cast.owner
    job = queued(ada)
    lease = take()
    ask(ada, job, "pause")
    assert ask(ada, job, "resume").json()["status"] == "running"
    assert lease_look(lease=lease).stop == ""
    job_block(lease=lease)  # the worker had already heard of the pause
    assert reload(ada, job.public_id).state == "queued"


def test_pausing_and_resuming_goes_round_no_limit_of_the_queue(cast: Cast) -> None:
    ada = cast.owner
    with tenant_scope(ada.tenant.id):
        override_set(reason="test", created_by="test", limits={"queued_jobs": 2})
    paused = []
    for _ in range(2):
        paused.append(queued(ada))
        ask(ada, paused[-1], "pause")
    refused = ada.api.post(JOBS, body(ada))
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_limit")
    assert "paused" in refused.json()["error"]["message"] and refused["Retry-After"] == "60"
    assert ask(ada, paused[0], "resume").json()["status"] == "queued"
    other = create(ada)
    refused = ask(ada, paused[1], "resume")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_limit")
    assert "2 jobs are waiting already" in refused.json()["error"]["message"] and refused["Retry-After"] == "60"
    assert reload(ada, paused[1].public_id).state == "blocked"
    assert ask(ada, paused[0], "resume").status_code == 200, "what waits already takes no more room"
    ask(ada, other, "cancel")
    assert ask(ada, paused[1], "resume").json()["status"] == "queued"


def test_what_others_stopped_keeps_nobody_from_starting_something_new(cast: Cast) -> None:
    ada = cast.owner
    with tenant_scope(ada.tenant.id):
        override_set(reason="test", created_by="test", limits={"queued_jobs": 2})
    for job in [queued(ada) for _ in range(2)]:
        with tenant_scope(ada.tenant.id):
            job_hold(job_id=job.pk, reason="test")
    assert ada.api.post(JOBS, body(ada)).status_code == 200, "it cannot resume what staff hold"


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_what_has_ended_is_neither_paused_nor_resumed(cast: Cast, verb: str) -> None:
    job = queued(cast.owner)
    ask(cast.owner, job, "cancel")
    answer = ask(cast.owner, job, verb)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "job_finished")


def test_a_job_whose_files_are_still_checked_is_not_paused_and_says_why(cast: Cast) -> None:
    job = create(cast.owner)
    answer = ask(cast.owner, job, "pause")
    assert answer.status_code == 409 and "still being checked" in answer.json()["error"]["message"]


def test_a_paused_job_can_be_cancelled_and_costs_nothing(cast: Cast) -> None:
    job = queued(cast.owner)
    ask(cast.owner, job, "pause")
    assert ask(cast.owner, job, "cancel").json()["status"] == "cancelled"
    with tenant_scope(cast.owner.tenant.id):
        assert JobHold.objects.get(job_id=job.pk).state == "released"


def test_a_job_at_its_ceiling_goes_on_with_a_higher_one_and_not_without(cast: Cast) -> None:
    ada = cast.owner
    job = queued(ada)
    lease = take()
    job_block(lease=lease, by=states.BUDGET)
    body = read(ada, job)
    assert (body["status"], body["x_blocked_by"]) == ("paused", "budget")
    for wrong in ({}, {"x_max_price_usd": job.ceiling_nano / 1e9}):
        answer = ask(ada, job, "resume", wrong)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "price_ceiling_too_low")
    assert ask(ada, job, "resume", {"x_max_price_usd": 1.5}).json()["status"] == "queued"
    assert held_nano(ada, job) == reload(ada, job.public_id).ceiling_nano == 1_500_000_000


def test_a_higher_ceiling_buys_the_further_steps(cast: Cast) -> None:
    ada = cast.owner
    whole = queued(ada, x_method="lora")
    ask(ada, whole, "cancel")
    half, most = whole.estimate["nano"]["high"] // 2 / 1e9, whole.estimate["nano"]["high"] / 1e9
    job = queued(ada, x_method="lora", x_max_price_usd=half)
    before = job.spec["config"]["max_steps"]
    every = job.estimate["epochs"] * job.estimate["steps_per_epoch"]
    assert 1 <= before < every
    with tenant_scope(ada.tenant.id):
        said = {event.code: event.message for event in JobEvent.objects.filter(job__in=[whole, job])}
        assert not JobEvent.objects.filter(job=whole, code="ceiling_short").exists(), "its ceiling pays for all"
    assert f"pays for about {before} of {every} steps; training ends there" in said["ceiling_short"]
    job_block(lease=take(), by=states.BUDGET)
    assert ask(ada, job, "resume", {"x_max_price_usd": half * 1.5}).json()["status"] == "queued"
    row = reload(ada, job.public_id)
    assert row.spec["config"]["raised_steps"] == before * row.ceiling_nano // job.ceiling_nano > before
    assert row.spec["config"]["max_steps"] == before and row.spec_sha256 != job.spec_sha256
    job_block(lease=take(), by=states.BUDGET)
    assert ask(ada, job, "resume", {"x_max_price_usd": most + 0.01}).json()["status"] == "queued"
    assert reload(ada, job.public_id).spec["config"]["raised_steps"] == every


def test_a_ceiling_that_the_spend_limit_cannot_carry_leaves_everything_as_it_was(cast: Cast) -> None:
    ada = cast.owner
    job = queued(ada)
    job_block(lease=take(), by=states.BUDGET)
    with tenant_scope(ada.tenant.id):
        override_set(reason="test", created_by="test", limits={"monthly_spend_nano": 2_000_000_000})
    assert ask(ada, job, "resume", {"x_max_price_usd": 50}).status_code == 402
    assert reload(ada, job.public_id).state == "blocked" and held_nano(ada, job) == job.ceiling_nano


def test_a_job_that_staff_hold_is_not_resumed_by_its_tenant(cast: Cast) -> None:
    job = queued(cast.owner)
    job_block(lease=take(), by=states.HOLD)
    assert ask(cast.owner, job, "resume").status_code == 409


def test_a_preempted_run_keeps_its_place_in_line_and_is_counted(cast: Cast) -> None:
    ada = cast.owner
    job, later = queued(ada), queued(ada)
    lease = take()
    with tenant_scope(ada.tenant.id):
        Job.objects.filter(pk=job.pk).update(preempt_requested_at=job.created_at)
    assert lease_renew(lease=lease, standing=Standing()).stop == "preempted"
    job_give_back(lease=lease, outcome="preempted", reason="It made room.")
    row = reload(ada, job.public_id)
    assert (row.state, row.preemptions, row.platform_retries) == ("queued", 1, 0)
    assert take().job_id == job.pk != later.pk, "before what was queued after it"


def test_retry_asks_for_the_same_and_only_after_a_bad_end(cast: Cast) -> None:
    ada = cast.owner
    job = queued(ada, suffix="mine", seed=4, x_priority="high", metadata={"a": "b"}, x_max_price_usd=2)
    assert ask(ada, job, "retry").status_code == 409
    ask(ada, job, "cancel")
    again = ask(ada, job, "retry")
    assert again.status_code == 200, again.content
    old, new = read(ada, job), again.json()
    assert new["id"] != old["id"] and new["status"] == "validating_files"
    for name in ("model", "training_file", "seed", "hyperparameters", "metadata", "x_method", "x_priority", "x_lane"):
        assert new[name] == old[name], name


def test_retry_twice_with_one_idempotency_key_makes_one_job(cast: Cast) -> None:
    job = queued(cast.owner)
    ask(cast.owner, job, "cancel")
    path, headers = f"{JOBS}/{job.public_id}/retry", {"Idempotency-Key": "once"}
    first, second = (cast.owner.api.request("POST", path, {}, **headers) for _ in range(2))
    assert first.json()["id"] == second.json()["id"] and second.headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("verb", ["clone", "retry", "pause", "resume", "cancel"])
def test_a_name_that_no_database_takes_is_nobodys(cast: Cast, verb: str) -> None:
    assert cast.owner.api.post(f"{JOBS}/%00/{verb}", {}).status_code == 404


def test_a_clone_takes_changes_and_refuses_nonsense(cast: Cast) -> None:
    ada = cast.owner
    job = queued(ada, hyperparameters={"n_epochs": 3, "batch_size": 8})
    body = ask(ada, job, "clone", {"hyperparameters": {"n_epochs": 5}, "x_method": "full", "suffix": "two"}).json()
    assert body["hyperparameters"] == {"n_epochs": 5, "batch_size": 8, "learning_rate_multiplier": "auto"}
    assert (body["x_method"], body["training_file"]) == ("full", read(ada, job)["training_file"])
    for wrong in (
        {"hyperparameters": {"n_epochs": -1}},
        {"epochs": 3},
        {"x_lane": "fast"},
        {"training_file": "f"},
    ):
        assert ask(ada, job, "clone", wrong).status_code in (400, 404), wrong


def test_lanes_come_with_a_plan_and_are_priced(cast: Cast) -> None:
    ada = cast.owner
    refused = ada.api.post(JOBS, {"model": "all-MiniLM-L6-v2", "training_file": "file-x", "x_lane": "preemptible"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "not_in_plan")
    with tenant_scope(ada.tenant.id):
        override_set(reason="test", created_by="test", features=["preemptible_lane", "priority_lane"])
    standard = queued(ada)
    halves = queued(ada, x_lane="preemptible")
    more = queued(ada, x_lane="priority")
    assert 2 * halves.ceiling_nano == standard.ceiling_nano and 2 * more.ceiling_nano == 3 * standard.ceiling_nano
    assert read(ada, more)["x_lane"] == "priority"


def test_among_ones_own_jobs_the_priority_decides(cast: Cast) -> None:
    queued(cast.owner, x_priority="low")
    queued(cast.owner)
    high = queued(cast.owner, x_priority="high")
    assert take().job_id == high.pk


def streamed(person: Person, job: Job, *, after: int = 0) -> list[tuple[str, str, Any]]:
    """(event, id, data) of a stream until it ends or repeats itself."""

    async def collect() -> list[str]:
        found: list[str] = []
        messages: AsyncIterator[str] = streaming.stream(person.tenant.id, person.project.id, job.pk, after=after)
        async for message in messages:
            found.append(message)
            if message.startswith("event: job") or len(found) > 50:
                await messages.aclose()  # type: ignore[attr-defined]
                break
        return found

    parsed = []
    for message in async_to_sync(collect)():
        fields = dict(line.split(": ", 1) for line in message.strip().split("\n") if ": " in line)
        if "data" in fields:
            parsed.append((fields["event"], fields.get("id", ""), json.loads(fields["data"])))
    return parsed


def test_a_stream_replays_from_a_number_and_shows_the_job(cast: Cast) -> None:
    job = queued(cast.owner)
    everything = streamed(cast.owner, job)
    numbers = [int(number) for event, number, _ in everything if event == "event"]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) >= 3
    assert everything[-1][0] == "job" and everything[-1][2]["id"] == job.public_id
    later = [int(number) for event, number, _ in streamed(cast.owner, job, after=2) if event == "event"]
    assert later == numbers[2:]


def test_the_stream_route_answers_events_and_refuses_a_strange_number(cast: Cast) -> None:
    job = queued(cast.owner)
    path = f"{JOBS}/{job.public_id}/stream"
    answer = cast.owner.api.get(path)
    assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/event-stream")
    answer.close()
    assert cast.owner.api.get(path, **{"Last-Event-ID": "-1"}).status_code == 400
    assert cast.owner.api.get(f"{path}?after=x").status_code == 400
    assert cast.stranger.api.get(path).status_code == 404


def test_too_many_streams_of_one_tenant_are_refused(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "MOST_OPEN", 0)
    job = queued(cast.owner)
    assert cast.owner.api.get(f"{JOBS}/{job.public_id}/stream").status_code == 429
