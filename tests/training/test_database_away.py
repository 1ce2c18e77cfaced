"""A database that does not answer a worker for a moment costs a run neither an attempt nor a result."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError

from kit import storage
from tenants.scope import tenant_scope
from tests.conftest import Cast
from tests.training import fake_lab
from tests.training.background import Background, rehearse, until
from tests.training.making import queued, reload
from training.models import Checkpoint, JobEvent
from training.worker import away, duty, running, supervisor

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _a_quiet_room(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The fake lab, short times, one place, and no job of another test in the queue."""
    rehearse(settings, monkeypatch)
    yield
    duty.draining.clear()


def test_a_database_that_is_away_while_a_run_is_made_ready_costs_it_no_attempt(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(away, "AGAIN_SECONDS", 0.1)
    job, fetch, tries = queued(cast.owner, seed=fake_lab.WELL), running.checkpoint_fetch, []

    def failing(**wish: Any) -> Any:
        tries.append(1)
        if len(tries) < 3:
            raise OperationalError("the server closed the connection")
        return fetch(**wish)

    monkeypatch.setattr(running, "checkpoint_fetch", failing)
    assert duty.work_once()
    done = reload(cast.owner, job.public_id)
    assert (done.state, done.attempt, len(tries)) == ("succeeded", 1, 3)


def test_a_database_that_is_away_when_the_trainer_first_speaks_costs_it_no_result(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, advance, tries = queued(cast.owner, seed=fake_lab.WELL), supervisor.lease_advance, []

    def failing(**wish: Any) -> Any:
        tries.append(1)
        if len(tries) == 1:
            raise OperationalError("the server closed the connection")
        return advance(**wish)

    monkeypatch.setattr(supervisor, "lease_advance", failing)
    assert duty.work_once()
    done = reload(cast.owner, job.public_id)
    assert (done.state, done.attempt, len(tries)) == ("succeeded", 1, 2)


@pytest.mark.parametrize("lost", [False, True], ids=["it was not done", "only its answer was lost"])
def test_a_checkpoint_that_the_database_did_not_take_at_once_is_recorded_with_the_next_try(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    job, record, seen = queued(cast.owner, seed=fake_lab.SLOW), supervisor.checkpoint_record, set()

    def failing(**wish: Any) -> Any:
        first = wish["uploaded"].step not in seen
        seen.add(wish["uploaded"].step)
        if lost or not first:
            answer = record(**wish)
        if first:
            raise OperationalError("the server closed the connection")
        return answer

    monkeypatch.setattr(supervisor, "checkpoint_record", failing)
    worker = Background()
    until(lambda: reload(cast.owner, job.public_id).step > 2)
    duty.draining.set()
    worker.join()
    back = reload(cast.owner, job.public_id)
    assert (back.state, back.checkpoint_step) == ("queued", max(seen))
    with tenant_scope(cast.owner.tenant.id):
        newest = Checkpoint.objects.get(pk=back.checkpoint_id)
        told = JobEvent.objects.filter(job=job, code="checkpoint", data__step=max(seen))
        assert told.count() == 1
    assert all(storage.is_there(f"{newest.storage_prefix}/{name}") for name in newest.files)
