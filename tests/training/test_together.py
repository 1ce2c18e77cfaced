"""Jobs of several organisations in one process: who may join, and that what befalls one is nothing to the others."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings as django_settings
from django.db import OperationalError
from safetensors.numpy import load

from billing.models import UsageEvent
from billing.services.entitlements import override_set
from kit import storage
from registry.models import Model
from registry.selectors import version_of_job
from tenants.scope import ops_scope, tenant_scope
from tests.conftest import Cast, Person
from tests.training import fake_lab
from tests.training.background import Background, has_checkpoint, rehearse, trainer_pid, until
from tests.training.making import intents, queued, read, reload
from training import selectors
from training.models import Attempt, Job, Slot, TenantShare
from training.services import claiming, sharing_set
from training.services.claiming import claim_group, slots_keep
from training.worker import duty, together, trainer

pytestmark = pytest.mark.slow  # drives many jobs through the queue, trains models

HOST = "shared-host"
JOBS = "/v1/fine_tuning/jobs"
LONG_TEXT = "the parcel has not arrived and nobody answers the telephone " * 8


@pytest.fixture
def room(settings: Any, monkeypatch: pytest.MonkeyPatch, cast: Cast) -> Iterator[None]:
    """The fake lab, four places, an empty queue, and two organisations that share."""
    rehearse(settings, monkeypatch, slots=4)
    for person in (cast.owner, cast.stranger):
        share(person)
    yield
    duty.draining.clear()


def share(person: Person, *, allowed: bool = True) -> None:
    """The organisation's switch."""
    with tenant_scope(person.tenant.id):
        sharing_set(tenant=person.tenant, allowed=allowed)


def adapter(person: Person, **changes: Any) -> Job:
    """A small LoRA job in the queue."""
    return queued(person, x_method="lora", **changes)


def both(cast: Cast, ours: int = fake_lab.STEADY, theirs: int = fake_lab.STEADY) -> tuple[Job, Job]:
    """A job of each, that behave like this."""
    return adapter(cast.owner, seed=ours), adapter(cast.stranger, seed=theirs)


def taken(*, devices: int = 1, places: int = 4, cuda: bool = False) -> list[Any]:
    """The jobs of one claim on a host of its own."""
    slots_keep(host=HOST, count=places, kind="cpu-fp32", gpu_class="cpu")
    return [lease.job_id for lease in claim_group(host=HOST, worker=f"{HOST}/1/1", devices=devices, cuda=cuda)]


def messages(person: Person, job: Job) -> dict[str, Any]:
    """The job's messages by their code."""
    with tenant_scope(person.tenant.id):
        return {event.code: event for event in selectors.events_after(job, 0, limit=5000) if event.type == "message"}


def states_of(*pairs: tuple[Person, Job]) -> list[str]:
    """How the jobs stand."""
    return [reload(person, job.public_id).state for person, job in pairs]


@pytest.mark.usefixtures("room")
def test_small_adapter_jobs_of_organisations_that_share_are_claimed_together_each_on_its_own_place(cast: Cast) -> None:
    first, second = both(cast)
    assert taken() == [first.pk, second.pk]
    with ops_scope("whose places are held"):
        assert Attempt.ops.filter(job_id__in=[first.pk, second.pk], number=1).count() == 2
    assert taken() == []


@pytest.mark.usefixtures("room")
@pytest.mark.parametrize("which", [0, 1])
def test_nobody_shares_who_has_not_allowed_it(cast: Cast, which: int) -> None:
    first, second = both(cast)
    share((cast.owner, cast.stranger)[which], allowed=False)
    assert (taken(), taken()) == ([first.pk], [second.pk])


@pytest.mark.usefixtures("room")
@pytest.mark.parametrize(
    "changes",
    [{"x_method": "head"}, {"content": intents().replace(b"my", LONG_TEXT.encode())}],
    ids=["another method", "large steps"],
)
def test_what_gains_nothing_from_sharing_trains_alone(cast: Cast, changes: dict[str, Any]) -> None:
    first = adapter(cast.owner)
    second = queued(cast.stranger, **({"x_method": "lora"} | changes))
    assert (taken(), taken()) == ([first.pk], [second.pk])


@pytest.mark.usefixtures("room")
def test_larger_steps_are_shared_on_gpus_alone(cast: Cast) -> None:
    people = (cast.owner, cast.stranger)
    for person in people:
        with tenant_scope(person.tenant.id):
            override_set(reason="test", created_by="test", limits={"parallel_jobs": 3})
    content = intents().replace(b"my", LONG_TEXT.encode())
    jobs = [adapter(person, content=content).pk for person in people]
    assert (taken(), taken()) == (jobs[:1], jobs[1:]), "on a processor that gains nothing"
    jobs = [adapter(cast.owner).pk, adapter(cast.stranger, content=content).pk]
    assert set(taken(cuda=True)) == set(jobs), "there a small one and a large one share"


@pytest.mark.usefixtures("room")
def test_a_job_that_met_a_fault_of_ours_trains_alone(cast: Cast) -> None:
    first, second = both(cast)
    with tenant_scope(cast.stranger.tenant.id):
        Job.objects.filter(pk=second.pk).update(platform_retries=1)
    assert (taken(), taken()) == ([first.pk], [second.pk])


@pytest.mark.usefixtures("room")
def test_nobody_goes_before_their_turn_to_fill_a_group(cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.id):
        override_set(reason="test", created_by="test", limits={"parallel_jobs": 3})
        TenantShare.objects.update(read_at="2020-01-01T00:00:00Z")
    first, between, last = adapter(cast.owner), queued(cast.stranger), adapter(cast.owner)
    assert taken() == [first.pk], "the next in turn fits no group, so there is none"
    assert (taken(), taken()) == ([between.pk], [last.pk])


@pytest.mark.usefixtures("room")
def test_no_group_takes_the_places_of_a_gang_whose_turn_it_is(cast: Cast) -> None:
    for person in (cast.owner, cast.stranger):
        with tenant_scope(person.tenant.id):
            override_set(reason="test", created_by="test", limits={"parallel_jobs": 3})
            TenantShare.objects.update(read_at="2020-01-01T00:00:00Z")
    slots_keep(host=HOST, count=4, kind="cpu-fp32", gpu_class="cpu")
    first, gang, last = adapter(cast.owner), adapter(cast.stranger, x_gpus=3), adapter(cast.owner)
    assert taken(devices=2) == [first.pk], "the three places that are left are the gang's"
    assert taken(devices=2) == [gang.pk]
    with tenant_scope(cast.owner.tenant.id):
        assert Job.objects.get(pk=last.pk).state == "queued"


@pytest.mark.usefixtures("room")
def test_a_group_keeps_what_it_has_when_the_database_goes_away(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = both(cast)
    once, calls = claiming._claim, []

    def failing(*wish: Any, **kind: Any) -> Any:
        calls.append(wish)
        if len(calls) == 2:
            raise OperationalError("gone")
        return once(*wish, **kind)

    monkeypatch.setattr(claiming, "_claim", failing)
    assert (taken(), taken()) == ([first.pk], [second.pk])


@pytest.mark.usefixtures("room")
def test_the_plans_limit_of_parallel_jobs_holds_in_a_group(cast: Cast) -> None:
    first, second = adapter(cast.owner), adapter(cast.owner)
    assert (taken(), taken()) == ([first.pk], [])
    with tenant_scope(cast.owner.tenant.id):
        assert Job.objects.get(pk=second.pk).state == "queued"


@pytest.mark.usefixtures("room")
@pytest.mark.parametrize(("devices", "places", "together"), [(2, 4, True), (2, 2, False), (4, 4, False)])
def test_a_group_stays_on_one_device(cast: Cast, devices: int, places: int, together: bool) -> None:
    first, second = both(cast)
    found = taken(devices=devices, places=places)
    assert found == ([first.pk, second.pk] if together else [first.pk])


@pytest.mark.usefixtures("room")
def test_two_jobs_in_one_process_end_each_with_its_model_its_log_and_its_bill(cast: Cast) -> None:
    first, second = both(cast, ours=fake_lab.LOADER)
    worker = Background()
    until(lambda: all(has_checkpoint(person, job) for person, job in ((cast.owner, first), (cast.stranger, second))))
    assert trainer_pid(first) == trainer_pid(second)
    cast.owner.api.post(f"{JOBS}/{first.public_id}/cancel")
    worker.join()
    assert states_of((cast.owner, first), (cast.stranger, second)) == ["cancelled", "succeeded"]
    done = read(cast.stranger, second)
    assert done["fine_tuned_model"] and done["x_price_usd"] > 0
    for person, job in ((cast.owner, first), (cast.stranger, second)):
        assert messages(person, job)["shared"].data == {"others": 1}
    with tenant_scope(cast.stranger.tenant.id):
        assert Model.objects.count() == 1
        assert UsageEvent.objects.get(kind="training").input_tokens == fake_lab.STEADY_STEPS * 3
        attempt = Attempt.objects.get(job=second)
        assert attempt.outcome == "succeeded" and attempt.machine_ms > 0
    with tenant_scope(cast.owner.tenant.id):
        assert not Model.objects.exists() and not UsageEvent.objects.exists()


@pytest.mark.usefixtures("room")
@pytest.mark.parametrize(
    ("seed", "state", "code"),
    [(fake_lab.DIVERGED, "failed", "diverged"), (fake_lab.BAD_DATA, "failed", "bad_data"), (5, "queued", None)],
)
def test_one_that_fails_ends_in_its_own_words_and_the_other_goes_on(
    cast: Cast, seed: int, state: str, code: str | None
) -> None:
    first, second = both(cast, ours=seed)
    assert duty.work_once()
    assert states_of((cast.owner, first), (cast.stranger, second)) == [state, "succeeded"]
    assert (read(cast.owner, first)["error"] or {}).get("code") == code


@pytest.mark.usefixtures("room")
def test_memory_that_others_may_have_taken_is_not_held_against_a_job(cast: Cast) -> None:
    first, second = both(cast, ours=fake_lab.MEMORY)
    assert duty.work_once()
    back = reload(cast.owner, first.public_id)
    assert (back.state, back.platform_retries) == ("queued", 1), "alone it would have failed"
    assert states_of((cast.stranger, second)) == ["succeeded"]
    assert duty.work_once()
    assert read(cast.owner, first)["error"]["code"] == "out_of_memory", "and so it does, alone"


@pytest.mark.usefixtures("room")
def test_the_death_of_the_process_gives_each_job_back_and_they_go_on_apart(cast: Cast) -> None:
    first, second = both(cast, ours=fake_lab.SLOW, theirs=fake_lab.SLOW)
    pairs = ((cast.owner, first), (cast.stranger, second))
    worker = Background()
    until(lambda: all(has_checkpoint(*pair) for pair in pairs))
    os.kill(trainer_pid(first), signal.SIGKILL)
    worker.join()
    for person, job in pairs:
        back = reload(person, job.public_id)
        assert (back.state, back.platform_retries) == ("queued", 1) and back.checkpoint_step >= 10
        assert "shared with others ended early" in messages(person, job)["crashed"].message
    assert [len(taken()), len(taken())] == [1, 1]
    assert not any(Slot.objects.values_list("crashed_jobs", flat=True)), "it says nothing of the places"


@pytest.mark.usefixtures("room")
def test_a_group_that_takes_too_much_ends_at_once_and_the_guilty_one_fails_alone(cast: Cast, settings: Any) -> None:
    settings.TRAINING_PROCESSES = 10
    first, second = both(cast, ours=fake_lab.BOMB, theirs=fake_lab.SLOW)
    assert duty.work_once()
    assert states_of((cast.owner, first), (cast.stranger, second)) == ["queued", "queued"]
    with tenant_scope(cast.stranger.tenant.id):
        Job.objects.filter(pk=second.pk).update(not_before="2100-01-01T00:00:00Z")
    assert duty.work_once()
    assert read(cast.owner, first)["error"]["code"] == "processes", "alone it is known whose they are"


@pytest.mark.usefixtures("room")
def test_the_folder_of_a_job_that_has_ended_is_gone_while_another_trains(cast: Cast) -> None:
    first, second = both(cast, ours=fake_lab.BAD_DATA, theirs=fake_lab.SLOW)
    jobs = Path(django_settings.WORK_DIR, "jobs")
    before = set(jobs.iterdir()) if jobs.is_dir() else set()  # of workers that other tests have killed
    worker = Background()
    until(lambda: reload(cast.owner, first.public_id).state == "failed")
    until(lambda: not list(jobs.glob(f"{first.pk}*")))
    assert list(jobs.glob(f"{second.pk}*"))
    cast.stranger.api.post(f"{JOBS}/{second.public_id}/cancel")
    worker.join()
    assert set(jobs.iterdir()) <= before


@pytest.mark.usefixtures("room")
def test_one_is_paused_with_a_checkpoint_while_the_other_trains_and_a_leaving_worker_gives_that_back(
    cast: Cast,
) -> None:
    first, second = both(cast, ours=fake_lab.SLOW, theirs=fake_lab.SLOW)
    worker = Background()
    until(lambda: has_checkpoint(cast.owner, first))
    cast.owner.api.post(f"{JOBS}/{first.public_id}/pause")
    until(lambda: reload(cast.owner, first.public_id).state == "blocked")
    paused = reload(cast.owner, first.public_id).checkpoint_step
    seen = reload(cast.stranger, second.public_id).step
    until(lambda: reload(cast.stranger, second.public_id).step > seen)
    duty.draining.set()
    worker.join()
    back = reload(cast.stranger, second.public_id)
    assert (back.state, back.platform_retries) == ("queued", 0) and back.checkpoint_step > 0
    assert paused >= 10 and states_of((cast.owner, first)) == ["blocked"]


@pytest.mark.usefixtures("room")
def test_a_job_taken_away_is_no_longer_listened_to_and_the_other_ends_well(cast: Cast) -> None:
    first, second = both(cast, ours=fake_lab.SLOW)
    worker = Background()
    until(lambda: has_checkpoint(cast.owner, first))
    with tenant_scope(cast.owner.tenant.id):
        Job.objects.filter(pk=first.pk).update(lease_token="00000000-0000-0000-0000-000000000007")
    worker.join()
    assert states_of((cast.stranger, second)) == ["succeeded"]
    assert not reload(cast.owner, first.public_id).model_version_id


class Scripted:
    """A trainer that says this at once, and ends."""

    def __init__(self, *events: dict[str, Any]) -> None:
        self.left = list(events)

    @property
    def ended(self) -> bool:
        """Whether all is said."""
        return not self.left

    def next(self, _timeout: float) -> dict[str, Any]:
        """What it says."""
        return self.left.pop(0)


def test_a_run_that_nobody_listens_to_for_long_loses_steps_but_neither_checkpoint_nor_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(together, "MOST_WAITING", 10)
    steps = [{"event": "step", "step": step, "job": 0} for step in range(50)]
    last = [{"event": name, "job": 0} for name in ("checkpoint", "done", "error")]
    end = {"event": "end", "status": 0, "job": 0}
    trainer: Any = Scripted(*steps, *last, end)
    folder: Any = None
    (part,) = together.Shared(trainer, [folder]).parts
    assert part.gone.wait(10)
    heard = []
    while not part.ended:
        heard.append(part.next(1.0))
    assert [event["step"] for event in heard if event and event["event"] == "step"] == list(range(10))
    assert [event["event"] for event in heard[10:] if event] == ["checkpoint", "done", "error"]
    assert part.told and part.wait() == 0


def weights(person: Person, job: Job) -> dict[str, np.ndarray]:
    """Every tensor of the model a job made."""
    with tenant_scope(person.tenant.id):
        version = version_of_job(job.pk)
        assert version is not None
        place = f"{version.artefact_prefix}/"
        found = {}
        for name in (one for one in version.files if one.endswith(".safetensors")):
            with storage.open_read(place + name) as stream:
                found |= {f"{name}:{key}": value for key, value in load(stream.read()).items()}
        return found


@pytest.mark.usefixtures("room")
def test_a_model_made_beside_anothers_is_the_one_made_alone(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "MODULE", "training.lab")
    monkeypatch.setattr(trainer, "CODE", ("platform", "inference"))
    wish = {"seed": 7, "hyperparameters": {"n_epochs": 1, "batch_size": 8}, "content": intents(60)}
    first = adapter(cast.owner, **wish)
    second = adapter(cast.stranger, **(wish | {"seed": 8, "content": intents(60, seed=3)}))
    assert duty.work_once()
    assert states_of((cast.owner, first), (cast.stranger, second)) == ["succeeded", "succeeded"]
    assert "shared" in messages(cast.owner, first)
    share(cast.owner, allowed=False)
    alone = adapter(cast.owner, **wish)
    assert duty.work_once()
    assert "shared" not in messages(cast.owner, alone)
    beside, apart = weights(cast.owner, first), weights(cast.owner, alone)
    assert beside.keys() == apart.keys() and len(beside) > 3
    for name, value in beside.items():
        np.testing.assert_allclose(value, apart[name], atol=1e-5, err_msg=name)
    others = weights(cast.stranger, second)
    gaps = [np.abs(other - beside[name]).max() for name, other in others.items() if other.shape == beside[name].shape]
    assert max(gaps) > 1e-3, "and another's is another"
