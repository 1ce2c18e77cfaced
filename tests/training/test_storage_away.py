"""A storage that is away for a while: a run is made ready later, its checkpoints and its result are kept later, and
nothing is lost or taken for damaged meanwhile."""

import errno
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.storage import default_storage

from kit import storage
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person
from tests.training import fake_lab
from tests.training.background import Background, has_checkpoint, rehearse, until
from tests.training.making import no_troubles, queued, reload
from training.models import Attempt, Job, JobEvent, Slot
from training.worker import away, duty, uploads

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _a_quiet_room(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The fake lab, short times, one place, and no job of another test in the queue."""
    rehearse(settings, monkeypatch)
    monkeypatch.setattr(away, "AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(away, "LONGEST_AGAIN", 0.2)
    yield
    duty.draining.clear()


class Full:
    """A storage that takes nothing while `on`; `asked` counts how often it was asked in vain."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.on, self.asked = threading.Event(), 0
        made = storage.tempfile.mkstemp

        def make(*args: Any, **kwargs: Any) -> tuple[int, str]:
            if self.on.is_set() and str(kwargs.get("dir", "")).endswith(storage.INCOMING):
                self.asked += 1
                raise OSError(errno.EIO, "the disk does not answer")
            return made(*args, **kwargs)

        monkeypatch.setattr(storage.tempfile, "mkstemp", make)


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Full:
    return Full(monkeypatch)


def only_attempt(person: Person, job: Job) -> Attempt:
    with tenant_scope(person.tenant.id):
        return Attempt.objects.get(job=job)


def codes(person: Person, job: Job) -> list[str]:
    with tenant_scope(person.tenant.id):
        return list(JobEvent.objects.filter(job=job).values_list("code", flat=True))


def test_a_finished_run_waits_for_the_storage_and_is_published_then(cast: Cast, full: Full) -> None:
    job = queued(cast.owner, seed=fake_lab.WELL)
    full.on.set()
    worker = Background()
    until(lambda: reload(cast.owner, job.public_id).state == "finishing")
    asked = full.asked
    until(lambda: full.asked > asked + 3)
    assert reload(cast.owner, job.public_id).state == "finishing"
    full.on.clear()
    worker.join()
    done = reload(cast.owner, job.public_id)
    assert (done.state, done.attempt, done.platform_retries) == ("succeeded", 1, 0)
    assert done.model_version_id is not None


def test_a_cancel_is_heard_while_a_finished_run_waits(cast: Cast, full: Full) -> None:
    job = queued(cast.owner, seed=fake_lab.WELL)
    full.on.set()
    worker = Background()
    until(lambda: reload(cast.owner, job.public_id).state == "finishing")
    cast.owner.api.post(f"/v1/fine_tuning/jobs/{job.public_id}/cancel")
    worker.join()
    assert reload(cast.owner, job.public_id).state == "cancelled"


def test_a_checkpoint_is_stored_once_the_storage_is_back_and_the_run_goes_on_meanwhile(cast: Cast, full: Full) -> None:
    job = queued(cast.owner, seed=fake_lab.SLOW)
    full.on.set()
    worker = Background()
    until(lambda: full.asked > 3)
    assert not has_checkpoint(cast.owner, job)
    full.on.clear()
    until(lambda: has_checkpoint(cast.owner, job))
    duty.draining.set()
    worker.join()
    assert (only_attempt(cast.owner, job).outcome, "checkpoint_refused" in codes(cast.owner, job)) == ("drained", False)


def uploading() -> bool:
    """Whether a thread still stores a checkpoint."""
    return any(thread.name == "checkpoint-upload" for thread in threading.enumerate())


def test_a_job_taken_away_while_a_checkpoint_waits_for_the_storage_leaves_nobody_waiting(
    cast: Cast, full: Full
) -> None:
    job = queued(cast.owner, seed=fake_lab.SLOW)
    full.on.set()
    worker = Background()
    until(lambda: full.asked > 3)
    with tenant_scope(cast.owner.tenant.id):
        Job.objects.filter(pk=job.pk).update(lease_token=uuid4())
    assert uploading()
    worker.join()
    until(lambda: not uploading(), 10)
    assert full.on.is_set() and not has_checkpoint(cast.owner, job), "the storage never came back"


def test_a_checkpoint_that_fails_as_nobody_foresaw_takes_no_later_one_with_it(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, upload, tries = queued(cast.owner, seed=fake_lab.SLOW), uploads.checkpoint_upload, []

    def failing(**wish: Any) -> Any:
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("nobody foresaw it")
        return upload(**wish)

    monkeypatch.setattr(uploads, "checkpoint_upload", failing)
    worker = Background()
    try:
        until(lambda: has_checkpoint(cast.owner, job), 20)
    finally:
        duty.draining.set()
        worker.join()
    assert len(tries) > 1 and only_attempt(cast.owner, job).outcome == "drained"


def test_a_run_that_was_asked_to_stop_keeps_its_place_until_its_checkpoint_is_stored(cast: Cast, full: Full) -> None:
    job = queued(cast.owner, seed=fake_lab.SLOW)
    full.on.set()
    worker = Background()
    until(lambda: reload(cast.owner, job.public_id).step > 2)
    duty.draining.set()
    until(lambda: full.asked > 3)
    full.on.clear()
    worker.join()
    back = reload(cast.owner, job.public_id)
    assert (back.state, back.attempt, back.platform_retries) == ("queued", 1, 0) and back.checkpoint_step > 2


@pytest.fixture
def resumable(cast: Cast) -> Job:
    """A job that waits with a checkpoint."""
    job = queued(cast.owner, seed=fake_lab.SLOW)
    worker = Background()
    until(lambda: has_checkpoint(cast.owner, job))
    duty.draining.set()
    worker.join()
    duty.draining.clear()
    return reload(cast.owner, job.public_id)


def unmounted() -> tuple[Path, Path]:
    """Take the storage's folder away; where it is, and where it was."""
    here = Path(default_storage.path("t"))
    return here.rename(here.with_name("elsewhere")), here


def test_a_storage_that_is_away_when_a_run_resumes_is_no_damage(
    cast: Cast, resumable: Job, caplog: pytest.LogCaptureFixture
) -> None:
    there, here = unmounted()
    try:
        worker = Background()
        until(lambda: caplog.text.count("the storage is away; the start of") > 2)
    finally:
        there.rename(here)
    until(lambda: reload(cast.owner, resumable.public_id).step > resumable.step)
    duty.draining.set()
    worker.join()
    back = reload(cast.owner, resumable.public_id)
    assert (back.state, back.attempt, back.platform_retries) == ("queued", 2, 0)
    with tenant_scope(cast.owner.tenant.id):
        begun = JobEvent.objects.get(job=resumable, code="resumed")
    assert begun.data["step"] == resumable.checkpoint_step
    assert "checkpoint_damaged" not in codes(cast.owner, resumable)


def test_a_disk_that_fails_while_a_checkpoint_is_fetched_is_no_damage_either(
    cast: Cast, resumable: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    def failing(self: Path, *args: Any, **kwargs: Any) -> Any:
        if self.parent.parent.name == "resume":
            raise OSError(errno.EIO, "the disk fails")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", failing)
    assert duty.work_once()
    back = reload(cast.owner, resumable.public_id)
    assert (back.state, back.attempt, back.checkpoint_step) == ("queued", 2, resumable.checkpoint_step)
    assert (back.platform_retries, back.crash_count) == (0, 0)
    assert "checkpoint_damaged" not in codes(cast.owner, resumable)
    assert list(Slot.objects.get().failed_attempts) == [f"{back.pk}/a2"]


def test_a_storage_that_stays_away_gives_the_job_back_as_no_crash_of_its_own(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(away, "SELF_FENCE", 0.3)
    job = queued(cast.owner, seed=fake_lab.WELL)
    there, here = unmounted()
    try:
        assert duty.work_once()
    finally:
        there.rename(here)
    back = reload(cast.owner, job.public_id)
    assert (back.state, back.platform_retries, back.crash_count) == ("queued", 1, 0)
    assert only_attempt(cast.owner, job).outcome == "unready"
    assert Slot.objects.get().parked_at is None


@pytest.mark.parametrize("everywhere", [True, False])
def test_a_storage_that_is_away_everywhere_parks_no_place_and_one_hosts_own_trouble_does(
    cast: Cast, settings: Any, monkeypatch: pytest.MonkeyPatch, everywhere: bool
) -> None:
    monkeypatch.setattr(away, "SELF_FENCE", 0.1)
    settings.TRAINING_RETRY_SECONDS = 3600  # so that others come after a job's second try
    no_troubles()
    for _ in range(5):
        queued(cast.owner, seed=fake_lab.WELL)
    there, here = unmounted()
    try:
        for host in ("one", "other") if everywhere else ():
            settings.TRAINING_HOST = host
            assert duty.work_once()
        settings.TRAINING_HOST = "one" if everywhere else "alone"
        for _ in range(6):
            duty.work_once()
    finally:
        there.rename(here)
    parked = Slot.objects.exclude(parked_at=None).values_list("host", flat=True)
    assert list(parked) == ([] if everywhere else ["alone"])
