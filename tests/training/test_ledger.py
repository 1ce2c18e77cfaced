"""The ledger of jobs holds by itself: the database refuses what must not happen, whoever writes."""

import datetime as dt
import random
import threading
import uuid
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.db import IntegrityError, connection, connections
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from billing.services.entitlements import override_set
from config import embedded
from kit.clock import now
from tenants.scope import OPS, ops_scope, tenant_scope
from tests.conftest import Cast, Person, make_person
from tests.training.making import allow, empty_queue, queued, read, reload
from training import forecast, states
from training.errors import Fenced
from training.models import Attempt, Checkpoint, Job, JobEvent, Slot, TenantShare
from training.scheduling.dispatch import next_start
from training.scheduling.fairness import HALF_LIFE_SECONDS
from training.selectors import queue
from training.selectors.events import thin
from training.selectors.picture import Candidates, picture_read
from training.services.checkpoints import Uploaded, checkpoint_record
from training.services.claiming import claim, slots_keep, worker_is_dead, worker_name
from training.services.endings import job_fail, job_reclaim
from training.services.events import News
from training.services.leases import Lease, Standing, lease_advance, lease_look, lease_renew
from training.services.shares import shares_reread
from training.worker import duty

HOST = "test-host"
A_BUSY_MACHINE = hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(autouse=True)
def _an_empty_queue() -> None:
    """No job of another test waits, and one host has four places."""
    empty_queue()
    slots_keep(host=HOST, count=4, kind="cpu-fp32", gpu_class="cpu")


def take() -> Lease | None:
    """A claim by a worker of the test's host."""
    return claim(host=HOST, worker=f"{HOST}/1/{uuid.uuid4().hex[:4]}")


def test_the_database_holds_the_same_table_of_moves_as_the_code() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT prosrc FROM pg_proc WHERE proname = 'training_job_moves'")
        assert cursor.fetchone()[0].strip() == states.check_sql()


def test_the_database_refuses_an_impossible_row(cast: Cast) -> None:
    job = queued(cast.owner)
    changes: list[dict[str, Any]] = [
        {"state": "running"},
        {"state": "succeeded", "finished_at": "2026-01-01T00:00:00Z"},
        {"state": "nonsense"},
        {"event_seq": 0},
        {"checkpoint_step": -2},
        {"price_nano": -1},
        {"price_nano": 10**15},
        {"lease_token": uuid.UUID(int=7)},
        {"finished_at": "2026-01-01T00:00:00Z"},
    ]
    for change in changes:
        with pytest.raises(IntegrityError), tenant_scope(cast.owner.tenant.id):
            Job.objects.filter(pk=job.pk).update(**change)
            pytest.fail(f"the database took {change}")


def test_an_end_is_final_even_for_the_ops_role(cast: Cast) -> None:
    job = queued(cast.owner)
    cast.owner.api.post(f"/v1/fine_tuning/jobs/{job.public_id}/cancel")
    changes: list[dict[str, Any]] = [
        {"state": "queued", "finished_at": None},
        {"model_version_id": uuid.uuid4()},
        {"result_file_id": uuid.uuid4()},
        {"trained_tokens": 7},
        {"error_code": "other"},
    ]
    for change in changes:
        with pytest.raises(IntegrityError), ops_scope("test"):
            Job.ops.filter(pk=job.pk).update(**change)
            pytest.fail(f"the database took {change}")


def test_an_event_stays_as_it_was_told_even_for_the_ops_role(cast: Cast) -> None:
    job = queued(cast.owner)
    with pytest.raises(IntegrityError), ops_scope("test"):
        JobEvent.ops.filter(job_id=job.pk).update(message="It never happened.")


def test_a_zombies_writes_have_no_effect(cast: Cast) -> None:
    job = queued(cast.owner)
    zombie = take()
    assert zombie is not None and lease_advance(lease=zombie, state=states.STARTING)
    with tenant_scope(cast.owner.tenant.id):
        job_reclaim(job=Job.objects.select_for_update().get(pk=job.pk), reason="Lost.")
    winner = take()
    assert winner is not None and (winner.job_id, winner.attempt) == (job.pk, 2)
    before = _everything(cast.owner, job)
    for write in (
        lambda: lease_renew(lease=zombie, standing=Standing("training", 999), news=[News("late")]),
        lambda: lease_look(lease=zombie),
        lambda: lease_advance(lease=zombie, state=states.RUNNING),
        lambda: job_fail(lease=zombie, code="x", message="late"),
        lambda: checkpoint_record(lease=zombie, uploaded=Uploaded(9, "t/x", {}, "0" * 64), metrics={}),
    ):
        with pytest.raises(Fenced):
            write()
    assert _everything(cast.owner, job) == before
    assert lease_advance(lease=winner, state=states.STARTING)


def _everything(person: Person, job: Job) -> list[Any]:
    with tenant_scope(person.tenant.id):
        return [
            list(model.objects.filter(**{key: job.pk}).order_by("pk").values())
            for model, key in ((Job, "pk"), (JobEvent, "job_id"), (Checkpoint, "job_id"))
        ]


def test_a_checkpoint_only_ever_moves_forward(cast: Cast) -> None:
    job = queued(cast.owner)
    lease = take()
    assert lease is not None
    assert checkpoint_record(lease=lease, uploaded=Uploaded(20, "t/a", {}, "0" * 64), metrics={})
    assert not checkpoint_record(lease=lease, uploaded=Uploaded(10, "t/b", {}, "0" * 64), metrics={})
    assert not checkpoint_record(lease=lease, uploaded=Uploaded(20, "t/c", {}, "0" * 64), metrics={})
    assert reload(cast.owner, job.public_id).checkpoint_step == 20


def test_the_tenant_that_has_had_least_goes_first_then_the_oldest_and_positions_say_so(cast: Cast) -> None:
    allow(cast.owner, 3)
    first, second, third = (queued(cast.owner) for _ in range(3))
    other = queued(cast.stranger)
    queue._cache = None
    jobs = ((cast.owner, first), (cast.owner, second), (cast.owner, third), (cast.stranger, other))
    said = {read(person, job)["x_queue"]["position"]: job.pk for person, job in jobs}
    order = [lease.job_id for lease in (take(), take(), take(), take()) if lease]
    assert order == [first.pk, other.pk, second.pk, third.pk] == [said[place] for place in (1, 2, 3, 4)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_claim_that_reads_a_few_tenants_chooses_as_one_that_reads_all(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(Candidates, "__init__", lambda self: setattr(self, "chunk", 2))
    for number in range(7):
        person = make_person(f"many{number}")
        allow(person, rng.randint(0, 2), guaranteed=rng.randint(0, 2))
        queued(person, x_priority=rng.choice(["low", "high"]))
        with tenant_scope(person.tenant.id):
            ago = [now() - dt.timedelta(seconds=rng.random() * 9_000) for _ in range(3)]
            started = rng.choice([None, ago[0]])
            TenantShare.objects.update(recent_ms=rng.random() * 1e7, recent_at=ago[1], last_started_at=started)
            lane, urgent = rng.choice(["standard", "priority", "preemptible"]), rng.random() < 0.1
            Job.objects.update(lane=lane, queued_at=ago[2], priority=100 if urgent else 0)
    for _ in range(4):
        with ops_scope("what the whole queue says"):
            expected = next_start(picture_read(), HOST)
        lease = take()
        assert (lease and lease.job_id) == (expected and expected.head.job)


MANY_TENANTS = """
WITH tenant AS (
  INSERT INTO tenants_tenant (id, name, slug, status, created_at)
  SELECT gen_random_uuid(), 'many', 'many-' || gen_random_uuid(), 'active', now() FROM generate_series(1, 700)
  RETURNING id
), project AS (
  INSERT INTO tenants_project (id, tenant_id, name, slug, created_at)
  SELECT gen_random_uuid(), id, 'Default', 'default', now() FROM tenant RETURNING id, tenant_id
)
INSERT INTO training_job
SELECT (jsonb_populate_record(job, jsonb_build_object(
  'id', gen_random_uuid(), 'tenant_id', project.tenant_id, 'project_id', project.id, 'dataset_version_id', NULL,
  'training_file_id', NULL))).*
FROM training_job job, project WHERE job.id = %s
"""


@pytest.mark.slow
def test_what_a_claim_reads_does_not_grow_with_the_jobs_that_have_ended(cast: Cast) -> None:
    """Invariant I18 of the scheduler."""
    over = queued(cast.owner)
    cast.owner.api.post(f"/v1/fine_tuning/jobs/{over.public_id}/cancel")
    with tenant_scope(cast.owner.tenant.id), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO training_job "
            "SELECT (jsonb_populate_record(job, jsonb_build_object('id', gen_random_uuid()))).* "
            "FROM training_job job, generate_series(1, 4000) WHERE job.id = %s",
            [over.pk],
        )
    with psycopg.connect(embedded.superuser_url(settings.HOME, embedded.DATABASE), autocommit=True) as everybody:
        everybody.execute(MANY_TENANTS, [over.pk])  # of whom one has ended far more jobs than the others
        everybody.execute("ANALYZE training_job")
    queued(cast.owner)
    queued(cast.stranger)
    before = jobs_read()
    assert take() is not None
    assert 0 < jobs_read() - before < 60


def jobs_read() -> int:
    """Rows of jobs that were read so far, by whichever way, on both connections."""
    for alias in ("default", OPS):
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT pg_stat_force_next_flush()")
            cursor.execute("SELECT pg_stat_clear_snapshot()")
    with connection.cursor() as cursor:
        cursor.execute("SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'training_job'")
        return int(cursor.fetchone()[0])


def test_marks_that_a_claim_takes_away_on_its_way_hide_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Candidates, "__init__", lambda self: setattr(self, "chunk", 2))
    job = None
    for number in range(5):
        person = make_person(f"marked{number}")
        if number == 2:
            job = queued(person)
        with tenant_scope(person.tenant.id):
            values = {"recent_ms": 1e9 * number, "recent_at": now(), "waiting": True, "last_started_at": now()}
            TenantShare.objects.update_or_create(tenant_id=person.tenant.id, defaults=values)
    lease = take()
    assert lease is not None and job is not None and lease.job_id == job.pk


def test_a_tenant_without_waiting_jobs_is_not_asked_again_until_it_queues_one(cast: Cast) -> None:
    allow(cast.owner, 3)
    queued(cast.owner)
    assert take() is not None and take() is None
    with tenant_scope(cast.owner.tenant.id):
        assert not TenantShare.objects.get().waiting
    job = queued(cast.owner)
    with tenant_scope(cast.owner.tenant.id):
        assert TenantShare.objects.get().waiting
        TenantShare.objects.update(waiting=False)
    assert take() is None
    shares_reread()
    lease = take()
    assert lease is not None and lease.job_id == job.pk, "a mark that got lost comes back by itself"


def test_a_waiting_job_without_a_moment_breaks_nobodys_turn(cast: Cast) -> None:
    jobs = [(person, queued(person)) for person in (cast.owner, cast.stranger)]
    for person, job in jobs[:1]:
        with tenant_scope(person.tenant.id):
            Job.objects.filter(pk=job.pk).update(queued_at=None)
    queue._cache = None
    assert sorted(read(person, job)["x_queue"]["position"] for person, job in jobs) == [1, 2]
    assert take() is not None and take() is not None


def test_a_start_is_charged_its_estimate_and_an_end_what_it_took(cast: Cast) -> None:
    job = queued(cast.owner)
    lease = take()
    assert lease is not None
    with tenant_scope(cast.owner.tenant.id):
        attempt = Attempt.objects.get(job=job)
        assert attempt.charged_ms == int(1000 * forecast.likely_seconds(job.estimate)) > 0
        assert TenantShare.objects.get().recent_ms == pytest.approx(attempt.charged_ms)
    job_fail(lease=lease, code="x", message="It failed.")
    with tenant_scope(cast.owner.tenant.id):
        attempt = Attempt.objects.get(job=job)
        share = TenantShare.objects.get()
    assert share.usage_ms == attempt.machine_ms
    assert share.recent_ms == pytest.approx(attempt.machine_ms, abs=2)


def test_used_machine_time_fades_in_the_database_as_in_the_rule(cast: Cast) -> None:
    job = queued(cast.owner)
    with tenant_scope(cast.owner.tenant.id):
        long_ago = now() - dt.timedelta(seconds=HALF_LIFE_SECONDS)
        TenantShare.objects.update(recent_ms=8_000.0, recent_at=long_ago)
    assert take() is not None
    with tenant_scope(cast.owner.tenant.id):
        charged = 1000 * job.likely_seconds
        assert TenantShare.objects.get().recent_ms == pytest.approx(4_000 + charged, rel=1e-3)


@pytest.mark.slow
def test_the_plans_parallel_jobs_are_never_exceeded_by_claims_at_once() -> None:
    people = [make_person(f"burst{number}") for number in range(2)]
    for person in people:
        allow(person, 1)
        for _ in range(3):
            queued(person)
    leases: list[Lease | None] = []

    def grab() -> None:
        try:
            leases.append(take())
        finally:
            connections.close_all()

    threads = [threading.Thread(target=grab) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [lease for lease in leases if lease]
    assert sorted(lease.tenant_id for lease in won) == sorted(person.tenant.id for person in people)
    assert len({lease.job_id for lease in won}) == 2


def test_a_host_without_a_free_place_claims_nothing(cast: Cast) -> None:
    queued(cast.owner)
    Slot.objects.update(draining=True)
    assert take() is None
    assert claim(host="another-host", worker="another-host/1/1") is None


def test_jobs_stay_off_places_above_their_plan_and_say_so_while_no_other_is_up(cast: Cast) -> None:
    slots_keep(host=HOST, count=1, kind="cuda-bf16", gpu_class="shared")
    free, paid = queued(cast.owner), queued(cast.stranger)
    with tenant_scope(cast.stranger.tenant.id):
        override_set(reason="test", created_by="test", limits={"gpu_class": "shared"})
        TenantShare.objects.update(read_at=now() - dt.timedelta(minutes=1))
    assert take() is None
    shares_reread()
    taken = take()
    assert taken is not None and taken.job_id == paid.pk, "the older job waits for a place that its plan has"
    assert take() is None
    queue._cache = None
    assert read(cast.owner, free)["x_queue"]["reason"] == "no_place"
    page = cast.owner.browser.get(f"{cast.owner.workspace}/jobs/{free.public_id}/").content.decode()
    assert "no worker for your plan" in page.replace("&#x27;", "'")
    slots_keep(host="small-host", count=1, kind="cpu-fp32", gpu_class="cpu")
    queue._cache = None
    assert read(cast.owner, free)["x_queue"]["reason"] == "resources"
    lease = claim(host="small-host", worker="small-host/1/1")
    assert lease is not None and lease.job_id == free.pk


def test_a_place_without_a_gpu_serves_every_plan(cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.id):
        override_set(reason="test", created_by="test", limits={"gpu_class": "dedicated"})
    job = queued(cast.owner)
    lease = take()
    assert lease is not None and lease.job_id == job.pk


@pytest.mark.parametrize(
    ("wish", "device", "found"),
    [("auto", "cuda-bf16", "shared"), ("auto", "cpu-bf16", "cpu"), ("cpu", "cuda-bf16", "cpu")],
)
def test_a_hosts_class_follows_its_device_unless_the_operator_says_otherwise(
    wish: str, device: str, found: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.TRAINING_GPU_CLASS = wish
    monkeypatch.setattr(forecast, "device", lambda: device)
    assert duty.gpu_class() == found


def test_a_dead_worker_of_this_host_is_recognised_and_a_living_one_is_not() -> None:
    assert not worker_is_dead(worker_name("here"), host="here")
    assert worker_is_dead("here/999999/123", host="here")
    assert not worker_is_dead("elsewhere/999999/123", host="here")


@A_BUSY_MACHINE
@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6, allow_subnormal=False)), max_size=120), st.integers(8, 40))
def test_thinning_keeps_the_extremes_and_the_bound(values: list[float | None], most: int) -> None:
    points = list(enumerate(values))
    kept = thin(points, most)
    assert len(kept) <= max(most, len(points) if len(points) <= most else most)
    known = [value for value in values if value is not None]
    if known:
        seen = [value for _, value in kept if value is not None]
        assert (min(seen), max(seen)) == (min(known), max(known))
    assert [step for step, _ in kept] == sorted(step for step, _ in kept)
