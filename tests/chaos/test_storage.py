"""Disks that are full, and bytes that change where they lie."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tenants.scope import tenant_scope
from tests.chaos.fleet import Fleet
from tests.chaos.invariants import check
from tests.training import fake_lab
from tests.training.background import until
from training import states
from training.models import Checkpoint, JobEvent, Slot

pytestmark = pytest.mark.chaos


@contextmanager
def small(folder: Path, megabytes: int) -> Iterator[None]:
    """A disk of so many megabytes in place of a folder, in the whole machine's view of it; skips where none may be."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no small disk can be made here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_scratch_disk_parks_its_place_and_costs_the_job_no_try(fleet: Fleet) -> None:
    for host in fleet.hosts[1:]:
        host.kill()
    host = fleet.hosts[0]
    host.kill()
    with small(host.work, 8):
        host.start()
        job = fleet.submit(seed=fake_lab.BULKY)
        until(lambda: Slot.objects.filter(host=host.name).exclude(parked_at=None).exists(), 60)
        until(lambda: fleet.row(job).state == states.QUEUED)
        assert fleet.row(job).platform_retries == 0
        check(fleet)
        host.kill()
    fleet.heal()
    assert fleet.ended(job) == [states.SUCCEEDED]


def test_a_full_store_keeps_no_checkpoint_and_no_half_result(fleet: Fleet) -> None:
    job = fleet.submit(seed=fake_lab.BULKY)
    row = fleet.running(job, step=1)
    with small(fleet.home / "objects" / "t" / str(row.tenant_id) / "jobs", 1):
        with small(fleet.home / "objects" / "incoming", 1):
            before = fleet.row(job).checkpoint_step
            until(lambda: fleet.row(job).is_final or fleet.row(job).attempt > 1, 60)
            assert fleet.row(job).checkpoint_step == before, "what was not stored is not on record"
            check(fleet)
    assert fleet.ended(job) == [states.SUCCEEDED]


def test_a_flipped_byte_in_a_checkpoint_falls_back_to_the_one_before(fleet: Fleet) -> None:
    job = fleet.submit(seed=fake_lab.LONG)
    until(lambda: fleet.row(job).checkpoint_step >= 20)
    host = fleet.host_of(job)
    row = fleet.row(job)
    host.kill()
    with tenant_scope(row.tenant_id):
        newest, before = Checkpoint.objects.filter(job_id=row.pk, removed_at=None).order_by("-step")[:2]
    path = fleet.home / "objects" / newest.storage_prefix / "state.json"
    raw = bytearray(path.read_bytes())
    place = fleet.dice.randrange(len(raw))
    raw[place] ^= 1 << fleet.dice.randrange(8)
    path.write_bytes(raw)
    fleet.running(job, attempt=1)
    with tenant_scope(row.tenant_id):
        codes = {event.code: event for event in JobEvent.objects.filter(job_id=row.pk)}
    assert "checkpoint_damaged" in codes and codes["resumed"].data["step"] == before.step
    assert fleet.cancel(job) == 200
    time.sleep(0.1)
