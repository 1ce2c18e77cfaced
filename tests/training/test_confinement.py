"""Trainers that hostile data has turned against their machine, run by the real worker in each way it can hold them."""

import json
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import transaction

from kit import cgroups, sandbox
from kit.clock import now
from registry.bases import Base, catalogue
from tenants.scope import ops_scope, tenant_scope
from tests.conftest import Cast
from tests.training import fake_lab
from tests.training.background import Background, rehearse, until
from tests.training.making import no_troubles, queued, read, reload
from training.models import Attempt, Job, JobEvent, Slot
from training.services.claiming import slots_keep
from training.services.parking import FORGOTTEN, slot_unpark, slots_crashed, slots_failed, slots_worked
from training.worker import concluding, duty, places, running
from training.worker.inventory import Inventory

pytestmark = pytest.mark.slow

NO_BWRAP = pytest.mark.skipif(bool(sandbox.fault()), reason=sandbox.fault() or "-")
NO_GROUP = pytest.mark.skipif(cgroups.home() is None, reason="no control group (version 2) can be made here")
WAYS = [
    pytest.param("bubblewrap", marks=NO_BWRAP),
    pytest.param("group", marks=NO_GROUP),
    "bare",
]


@pytest.fixture(autouse=True)
def _a_quiet_room(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The fake lab, short times, one place, and no job of another test in the queue."""
    rehearse(settings, monkeypatch)
    no_troubles()
    yield
    duty.draining.clear()


@pytest.fixture
def held(request: pytest.FixtureRequest, settings: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """One way to hold a trainer."""
    way: str = request.param
    settings.SANDBOX = "required" if way == "bubblewrap" else "off"
    if way != "group":
        monkeypatch.setattr(cgroups, "home", lambda: None)
    return way


def still_running(job: Job) -> list[int]:
    """Processes that name the job in their command."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if str(job.pk).encode() in words:
            found.append(int(folder.name))
    return found


@pytest.mark.parametrize("held", WAYS, indirect=True)
def test_a_child_that_left_group_parent_and_environment_dies_with_its_trainer(cast: Cast, held: str) -> None:
    job = queued(cast.owner, seed=fake_lab.SNEAKY)
    worker = Background()
    until(lambda: reload(cast.owner, job.public_id).step > 2)
    assert len(still_running(job)) >= 2, "the trainer and what it hid"
    cast.owner.api.post(f"/v1/fine_tuning/jobs/{job.public_id}/cancel")
    worker.join()
    until(lambda: not still_running(job), 10)


@pytest.mark.parametrize("held", WAYS[:2], indirect=True)
def test_not_even_one_that_a_dead_trainer_left_behind_at_once_survives(cast: Cast, held: str) -> None:
    job = queued(cast.owner, seed=fake_lab.FLEEING)
    assert duty.work_once()
    until(lambda: not still_running(job), 10)


@pytest.mark.parametrize("held", WAYS, indirect=True)
@pytest.mark.parametrize(
    ("seed", "limit", "code", "says"),
    [
        (fake_lab.BOMB, ("TRAINING_PROCESSES", 20), "processes", "one may have 20"),
        (fake_lab.GREEDY, ("TRAINING_MEMORY_MB", 200), "out_of_memory", "it may use 200 MB. Lower batch_size"),
        (fake_lab.FILLER, ("TRAINING_DISK_MB", 20), "disk", "it may hold 20 MB. Use fewer rows"),
    ],
)
def test_what_takes_more_than_an_attempt_may_is_ended_with_advice_and_costs_nothing(
    cast: Cast, settings: Any, held: str, seed: int, limit: tuple[str, int], code: str, says: str
) -> None:
    setattr(settings, *limit)
    job = queued(cast.owner, seed=seed)
    began = time.monotonic()
    assert duty.work_once()
    assert time.monotonic() - began < 20
    answer = read(cast.owner, job)
    assert (answer["status"], answer["error"]["code"], answer["x_price_usd"]) == ("failed", code, 0.0)
    assert says in answer["error"]["message"]
    assert not still_running(job)
    with ops_scope("test"):
        assert not Slot.objects.exclude(parked_at=None).exists(), "a job's own fault is not its place's"


@NO_BWRAP
def test_a_confined_trainer_reaches_no_network_no_other_file_and_no_other_process(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Any
) -> None:
    settings.SANDBOX = "required"
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_test_canary")
    root, home = Path(django_settings.ROOT), Path(django_settings.HOME)
    paths = ["/", "/usr", "/etc/shadow", str(root), str(root / "platform"), str(home / "objects"), str(tmp_path)]
    note = root / "tests" / "training" / "curious.json"
    with socket.create_server(("127.0.0.1", 0)) as server:
        note.write_text(json.dumps({"paths": paths, "port": server.getsockname()[1]}))
        try:
            job = queued(cast.owner, seed=fake_lab.CURIOUS)
            assert duty.work_once()
        finally:
            note.unlink()
    with tenant_scope(cast.owner.tenant.id):
        found = json.loads(JobEvent.objects.get(job=job, code="trainer_looked").message)
    assert found.pop("network") is False
    assert found.pop("processes") <= 3, "itself and what started it"
    assert "STRIPE_SECRET_KEY" not in found.pop("environment")
    seen = {path: found[path] for path in paths}
    assert not any(Path(path, "intruder").exists() for path in paths), "what it may write to is a place of its own"
    assert {path for path, how in seen.items() if how == "absent"} == {
        "/etc/shadow",
        str(root / "platform"),
        str(home / "objects"),
        str(tmp_path),
    }
    assert read(cast.owner, job)["status"] == "succeeded"


def test_a_place_without_room_gives_the_job_back_uncounted_and_is_parked_with_the_reason(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "SPARE_BYTES", 1 << 60)
    job = queued(cast.owner, seed=fake_lab.WELL)
    assert duty.work_once()
    back = reload(cast.owner, job.public_id)
    assert (back.state, back.platform_retries, back.crash_count) == ("queued", 0, 0)
    with tenant_scope(cast.owner.tenant.id):
        assert Attempt.objects.get(job=job).outcome == "unfit"
    place = Slot.objects.get()
    assert place.parked_at is not None and "of scratch disk are free" in place.parked_because
    assert not duty.work_once(), "a parked place takes no job, however often its worker asks"
    monkeypatch.undo()


def test_a_disk_that_fills_under_a_trainer_is_the_places_fault_and_only_if_it_is_full(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queued(cast.owner, seed=fake_lab.SCRATCH)
    assert duty.work_once()
    assert reload(cast.owner, job.public_id).platform_retries == 1
    assert Slot.objects.get().parked_at is None
    monkeypatch.setattr(concluding, "disk_problem", lambda: "1 MiB of scratch disk are free")
    assert duty.work_once()
    assert reload(cast.owner, job.public_id).platform_retries == 1
    assert Slot.objects.get().parked_because == "1 MiB of scratch disk are free"


def test_three_jobs_that_crash_in_a_row_park_their_place_and_one_job_does_not(cast: Cast) -> None:
    first = queued(cast.owner, seed=fake_lab.INTERNAL)
    for _ in range(3):
        until(duty.work_once)
    assert read(cast.owner, first)["error"]["code"] == "training_crashed"
    assert Slot.objects.get().parked_at is None
    cancelled = queued(cast.owner, seed=fake_lab.SLOW)
    worker = Background()
    until(lambda: reload(cast.owner, cancelled.public_id).step > 0)
    cast.owner.api.post(f"/v1/fine_tuning/jobs/{cancelled.public_id}/cancel")
    worker.join()
    assert Slot.objects.get().crashed_jobs == [str(first.pk)], "one that we killed did not crash"
    queued(cast.stranger, seed=fake_lab.WELL)
    assert duty.work_once()
    assert Slot.objects.get().crashed_jobs == [], "a run that ends well clears it"
    for person in (cast.owner, cast.stranger, cast.owner):
        queued(person, seed=fake_lab.INTERNAL)
    for _ in range(9):
        if Slot.objects.get().parked_at is None:
            until(duty.work_once)
    place = Slot.objects.get()
    assert place.parked_because.startswith("3 jobs in a row crashed here. The last: The trainer failed inside")
    with transaction.atomic():
        slot_unpark(slot_id=place.pk)
    place.refresh_from_db()
    assert (place.parked_at, place.parked_because, place.crashed_jobs) == (None, "", [])


def test_a_place_says_what_it_runs_on(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duty, "seen", Inventory())
    duty.work_once()
    machine = Slot.objects.get().inventory
    assert (machine["kind"], machine["health"]) == ("cpu", "good")
    assert machine["name"] and machine["memory_mib"] > 0 and machine["cores"] >= 1


def test_a_base_that_one_host_lacks_is_that_hosts_fault_and_the_job_runs_on_another(
    cast: Cast, settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    job = queued(cast.owner, seed=fake_lab.WELL)
    slots_keep(host="rich", count=1, kind="cpu-fp32", gpu_class="cpu")
    settings.TRAINING_HOST = "poor"
    known = catalogue()
    monkeypatch.setattr(running, "catalogue", lambda: lacking(tmp_path))
    for _ in range(3):
        assert duty.work_once()
    back = reload(cast.owner, job.public_id)
    assert (back.state, back.platform_retries, back.crash_count) == ("queued", 2, 0)
    assert outcomes(cast, job) == ["unfit", "unready", "unready"]
    place = Slot.objects.get(host="poor")
    assert place.parked_because.startswith("3 runs could not be made ready here within a day. The last: Base ")
    assert not duty.work_once(), "a parked place takes no job"
    settings.TRAINING_HOST = "rich"
    monkeypatch.setattr(running, "catalogue", lambda: known)
    assert duty.work_once()
    done = reload(cast.owner, job.public_id)
    assert (done.state, done.attempt, done.platform_retries) == ("succeeded", 4, 2)


def test_a_base_that_every_host_lacks_parks_none_and_the_job_waits_longer_each_time(
    cast: Cast, settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    job = queued(cast.owner, seed=fake_lab.WELL)
    monkeypatch.setattr(running, "catalogue", lambda: lacking(tmp_path))
    settings.TRAINING_HOST = "one"
    assert duty.work_once()
    settings.TRAINING_HOST = "other"
    queued(cast.stranger, seed=fake_lab.WELL)
    for host in ("other", "one", "other", "one", "other"):
        settings.TRAINING_HOST = host
        assert duty.work_once()
    assert not Slot.objects.exclude(parked_at=None).exists()
    assert set(outcomes(cast, job)[1:]) == {"unready"}
    settings.TRAINING_RETRY_SECONDS = 3600
    until(lambda: not duty.work_once(), 20)
    assert reload(cast.owner, job.public_id).state == "queued"


def test_a_base_that_the_only_host_lacks_ends_the_job_and_not_the_host(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    job = queued(cast.owner, seed=fake_lab.WELL)
    known = catalogue()
    monkeypatch.setattr(running, "catalogue", lambda: lacking(tmp_path))
    until(lambda: not duty.work_once())
    error = read(cast.owner, job)["error"]
    assert (error["code"], reload(cast.owner, job.public_id).attempt) == ("platform_fault", 12)
    assert Slot.objects.get().parked_at is None
    monkeypatch.setattr(running, "catalogue", lambda: known)
    other = queued(cast.owner, seed=fake_lab.WELL)
    assert duty.work_once()
    assert reload(cast.owner, other.public_id).state == "succeeded"


def lacking(folder: Path) -> dict[str, Base]:
    """The catalogue of a machine whose bases' files are gone."""
    return {name: replace(base, folder=folder) for name, base in catalogue().items()}


def outcomes(cast: Cast, job: Job) -> list[str]:
    """How the owner's job's attempts ended, in order."""
    with tenant_scope(cast.owner.tenant.id):
        return list(Attempt.objects.filter(job=job).order_by("number").values_list("outcome", flat=True))


def test_a_base_that_is_not_the_planned_one_is_neither_the_jobs_nor_the_places_fault(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queued(cast.owner, seed=fake_lab.WELL)
    with tenant_scope(cast.owner.tenant.id):
        Job.objects.filter(pk=job.pk).update(spec=job.spec | {"base_sha256": "0" * 64})
    assert duty.work_once()
    back = reload(cast.owner, job.public_id)
    assert (back.state, back.platform_retries, back.crash_count) == ("queued", 1, 0)
    place = Slot.objects.get()
    assert (place.parked_at, place.crashed_jobs, place.failed_attempts) == (None, [], {})


def test_a_run_that_ends_well_takes_back_crashes_but_not_what_its_place_lacked(cast: Cast) -> None:
    duty.work_once()
    place = Slot.objects.get()
    one, other = uuid.uuid4(), uuid.uuid4()
    slots_failed(slot_ids=[place.pk], job_id=one, attempt=1, reason="no base")
    slots_crashed(slot_ids=[place.pk], job_id=other, reason="it crashed")
    slots_worked(slot_ids=[place.pk])
    place.refresh_from_db()
    assert (place.crashed_jobs, list(place.failed_attempts)) == ([], [f"{one}/a1"])


def test_crashes_and_what_a_place_lacks_are_counted_apart_and_the_latter_for_a_day(cast: Cast) -> None:
    duty.work_once()
    place = Slot.objects.get()

    def failed(attempt: int) -> Slot:
        slots_failed(slot_ids=[place.pk], job_id=uuid.uuid4(), attempt=attempt, reason="no base")
        return Slot.objects.get()

    for _ in range(2):
        slots_crashed(slot_ids=[place.pk], job_id=uuid.uuid4(), reason="it crashed")
        assert failed(1).parked_at is None
    yesterday = (now() - FORGOTTEN).isoformat()
    Slot.objects.update(failed_attempts={f"{number}/a1": yesterday for number in range(2)})
    for attempt in (1, 2):
        assert failed(attempt).parked_at is None
    assert failed(3).parked_because == "3 runs could not be made ready here within a day. The last: no base"
    with transaction.atomic():
        slot_unpark(slot_id=place.pk)
    place.refresh_from_db()
    assert (place.crashed_jobs, place.failed_attempts) == ([], {})
