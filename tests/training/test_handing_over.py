"""What a hostile trainer hands over: never anything but its own plain files, and never more than it may."""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.files.storage import default_storage

from kit import untrusted
from kit.ids import new_id
from tenants.scope import tenant_scope
from tests.conftest import Cast
from tests.registry.folders import artefact, seal
from tests.training import fake_lab
from tests.training.background import Background, rehearse, until
from tests.training.making import queued, reload
from training.models import Attempt, Checkpoint, Job, JobEvent, Slot
from training.services.checkpoints import checkpoint_upload
from training.services.leases import Lease
from training.worker import duty, limits, reading, trainer
from training.worker.workfolder import folder_remove

pytestmark = pytest.mark.slow

SECRET = "somebody else's bytes"


@pytest.fixture(autouse=True)
def _a_quiet_room(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The fake lab, short times, one place, and no job of another test in the queue."""
    rehearse(settings, monkeypatch)
    yield
    duty.draining.clear()


@pytest.fixture
def prey() -> Iterator[Path]:
    """The folder of another attempt, with a sound result in it."""
    root = Path(django_settings.WORK_DIR) / "jobs" / "somebody-a1" / "output" / "artefact"
    artefact(root)
    (root / "state.json").write_text(json.dumps({"secret": SECRET}))
    seal(root)
    note = Path(fake_lab.__file__).with_name("prey.json")
    note.write_text(json.dumps({"prey": str(root)}))
    yield root
    note.unlink()
    shutil.rmtree(root.parent.parent)


def stored(job: Job) -> list[Path]:
    """Every object of the job's organisation that is no upload."""
    root = Path(default_storage.path(f"t/{job.tenant_id}"))
    return [path for kind in ("jobs", "models") for path in (root / kind).rglob("*") if path.is_file()]


@pytest.mark.parametrize("seed", fake_lab.TRICKS)
def test_a_trick_for_a_checkpoint_and_a_result_is_refused_and_copies_nothing(cast: Cast, prey: Path, seed: int) -> None:
    before = reload(cast.owner, queued(cast.owner, seed=seed).public_id)
    known = set(stored(before))
    assert duty.work_once()
    job = reload(cast.owner, before.public_id)
    with tenant_scope(cast.owner.tenant.id):
        attempt = Attempt.objects.get(job=job)
        assert (job.state, attempt.outcome, attempt.exit_code) == ("queued", "crashed", None)
        assert attempt.reason == "The result could not be stored: it is not what a training leaves."
        assert JobEvent.objects.filter(job=job, code="checkpoint_refused").count() == 1
        assert not Checkpoint.objects.filter(job=job, step=99).exists()
    new = set(stored(job)) - known
    assert not any("models" in path.parts or "step-00000099" in str(path) for path in new)
    assert not any(SECRET.encode() in path.read_bytes() for path in new)
    assert Slot.objects.get().parked_at is None
    assert prey.exists() and not list(Path(django_settings.WORK_DIR).glob(f"jobs/{job.pk}*"))


def test_however_many_checkpoints_a_run_writes_it_holds_no_more_than_its_trainer_keeps(
    cast: Cast, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    measure = limits.folder_bytes
    monkeypatch.setattr(limits, "folder_bytes", lambda folder: seen.append(measure(folder)) or seen[-1])
    monkeypatch.setattr(limits, "LOOK_SECONDS", 0.0)
    job = queued(cast.owner, seed=fake_lab.BULKY)
    worker = Background()
    until(lambda: reload(cast.owner, job.public_id).is_final)
    worker.join()
    done = reload(cast.owner, job.public_id)
    with tenant_scope(cast.owner.tenant.id):
        newest = Checkpoint.objects.filter(job=job).latest("step").step
    assert (done.state, newest) == ("succeeded", fake_lab.STEADY_STEPS)
    assert 2 * fake_lab.BULK < max(seen) < 4 * fake_lab.BULK, "two that are kept, and one that is written"


def test_what_cannot_be_is_left_out_and_told_once_and_the_run_ends_well(cast: Cast) -> None:
    job = queued(cast.owner, seed=fake_lab.LIAR)
    assert duty.work_once()
    done = reload(cast.owner, job.public_id)
    assert (done.state, done.attempt, done.step, done.trained_tokens) == ("succeeded", 1, 20, 60)
    with tenant_scope(cast.owner.tenant.id):
        assert JobEvent.objects.filter(job=job, code="report_refused").count() == 1
        assert JobEvent.objects.get(job=job, code="trainer_odd").message == "nul   and half ?"


def test_a_trainer_that_talks_without_end_waits_and_its_log_stays_short(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "MOST_WAITING", 50)
    monkeypatch.setattr(reading, "MOST_NEWS", 1_000)
    job = queued(cast.owner, seed=fake_lab.TALKER)
    assert duty.work_once()
    done = reload(cast.owner, job.public_id)
    assert (done.state, done.attempt, done.step) == ("succeeded", 1, 20)
    with tenant_scope(cast.owner.tenant.id):
        assert JobEvent.objects.filter(job=job).count() < 1_010


def test_a_report_that_no_database_takes_is_a_crash_and_not_a_lost_worker(cast: Cast) -> None:
    job = queued(cast.owner, seed=fake_lab.FORGER)
    assert duty.work_once()
    with tenant_scope(cast.owner.tenant.id):
        assert Attempt.objects.get(job=job).outcome == "crashed"
    assert reload(cast.owner, job.public_id).lease_token is None


def test_folders_too_deep_for_python_are_measured_as_too_much_and_removed(tmp_path: Path) -> None:
    root = tmp_path / "deep-a1"
    root.mkdir()
    words = "import os\nfor _ in range(1200):\n    os.mkdir('d')\n    os.chdir('d')"
    subprocess.run([sys.executable, "-c", words], cwd=root, check=True)
    assert limits.folder_bytes(root) == limits.TOO_MUCH
    folder_remove(root)
    assert not root.exists()


@pytest.mark.parametrize("size", [10**30, 2**62, 11, 13])
def test_a_manifest_that_says_another_size_is_refused(cast: Cast, tmp_path: Path, size: int) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "state.json").write_bytes(b"{'step': 10}")
    entry = {"sha256": hashlib.sha256(b"{'step': 10}").hexdigest(), "bytes": size}
    manifest = json.dumps({"step": 10, "files": {"state.json": entry}}).encode()
    (folder / "manifest.json").write_bytes(manifest)
    top = untrusted.folder_open(tmp_path)
    lease = Lease(cast.owner.tenant.id, cast.owner.project.id, new_id(), 1, uuid.uuid4(), "somewhere/1/1")
    with contextlib.closing(untrusted.files_open(top, PurePath("checkpoint"), limit=1000)) as opened:
        with pytest.raises(untrusted.Refused, match="size"):
            digest = hashlib.sha256(manifest).hexdigest()
            checkpoint_upload(lease=lease, opened=opened, step=10, manifest_sha256=digest)
    os.close(top)
