"""What a sweep does by itself between its start and its end: trials, the budget, doors that ring twice."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core import mail
from django.db import IntegrityError, connections, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.services.entitlements import override_set
from hooks.models import Event
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tenants.selectors import tenant_current
from tenants.services.organisations import tenant_set_status
from tests.conftest import Cast, Person
from tests.contracts.conformance import answer_schema, differences
from tests.data.making import ready_dataset
from tests.training.making import BASE
from tests.training.searching import RATES, SWEEPS, body, create, end, queue, read, reload, roomy, running, step, trials
from training import tasks
from training.models import Job, Sweep
from training.services import job_resume
from training.services.mailing import sweep_mail
from training.services.trials import sweep_step

pytestmark = pytest.mark.slow  # drives many jobs through the queue


@pytest.fixture(scope="module")
def ada() -> Person:
    """One owner for the whole file, with room for many jobs."""
    return roomy()


def test_trials_are_jobs_on_one_version_with_the_sweeps_seed_and_a_ceiling_each(ada: Person) -> None:
    sweep = running(ada, parallel=3, metadata={"team": "b"})
    jobs = [queue(job) for job in trials(sweep)]
    assert [job.hyperparameters["learning_rate_multiplier"] for job in jobs] == RATES["learning_rate_multiplier"]
    assert {job.dataset_version_id for job in jobs} == {sweep.dataset_version_id} and sweep.dataset_version_id
    assert {job.seed for job in jobs} == {5} and {job.method for job in jobs} == {"head"}
    assert [job.suffix for job in jobs] == ["triage-t01", "triage-t02", "triage-t03"]
    assert [job.ceiling_nano for job in jobs] == [row[0] for row in sweep.ceilings]
    assert sum(job.ceiling_nano for job in jobs) == sweep.budget_nano == sweep.estimate["nano"]["high"]
    assert all(job.state == "queued" and job.metadata == {"team": "b"} for job in jobs)
    wire = ada.api.get(f"/v1/fine_tuning/jobs/{jobs[0].public_id}").json()
    assert wire["x_sweep"] == sweep.public_id


def test_no_more_are_open_than_asked_for_and_the_end_of_one_rings_for_the_next(
    ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = running(ada, parallel=1)
    assert len(trials(sweep)) == 1 and step(sweep) == "running" and len(trials(sweep)) == 1
    rings: list[tuple[Any, ...]] = []
    monkeypatch.setattr("kit.outbox._publish", lambda entry: rings.append((entry.task, *entry.arguments)))
    end(trials(sweep)[0], score=0.5)
    rung = [entry for entry in rings if entry[0] == "training.sweep_step"]
    assert rung == [("training.sweep_step", str(sweep.tenant_id), str(sweep.pk))]
    assert step(sweep) == "running" and len(trials(sweep)) == 2


def test_the_best_validation_score_wins_and_the_sweep_says_what_it_cost(ada: Person) -> None:
    sweep = running(ada, parallel=3)
    for job, score in zip(trials(sweep), (0.6, 0.9, None), strict=True):
        end(job, score=score, share=0.5)
    assert step(sweep) == "succeeded"
    found = read(ada, sweep)
    assert differences(answer_schema("get", f"{SWEEPS}/{{sweep}}", 200), found) == []
    assert (found["status"], found["ended_because"], found["error"]) == ("succeeded", "complete", None)
    assert found["winner"]["score"] == 0.9 and found["winner"]["setting"]["learning_rate_multiplier"] == 1
    assert found["winner"]["fine_tuned_model"].startswith(f"ft:{BASE}:")
    assert found["progress"] | {"planned": 3} == {
        "planned": 3,
        "started": 3,
        "open": 0,
        "succeeded": 2,
        "failed": 1,
        "cancelled": 0,
    }
    spent = sum(job.price_nano for job in trials(sweep))
    assert found["price_usd"]["spent"] == pytest.approx(spent / 1e9) and found["price_usd"]["reserved"] == 0
    assert 0 < spent < sweep.budget_nano
    page = ada.api.get(f"{SWEEPS}/{sweep.public_id}/trials?limit=2").json()
    assert differences(answer_schema("get", f"{SWEEPS}/{{sweep}}/trials", 200), page) == []
    assert page["has_more"] and [one["number"] for one in page["data"]] == [3, 2]
    with tenant_scope(ada.tenant.id):
        assert Event.objects.filter(type="tunesmith.sweep.succeeded", data={"id": sweep.public_id}).count() == 1
        assert AuditEvent.objects.filter(action="sweep.created", target_id=sweep.public_id).count() == 1
    assert step(sweep) == "succeeded", "a late doorbell changes nothing"
    with tenant_scope(ada.tenant.id):
        assert Event.objects.filter(type="tunesmith.sweep.succeeded", data={"id": sweep.public_id}).count() == 1


def test_without_any_model_the_sweep_has_failed(ada: Person) -> None:
    sweep = running(ada, parallel=3)
    for job in trials(sweep):
        end(job, score=None)
    assert step(sweep) == "failed"
    found = read(ada, sweep)
    assert (found["ended_because"], found["winner"], found["error"]["code"]) == ("complete", None, "no_model")
    assert found["price_usd"]["spent"] == 0


def test_halving_promotes_the_best_third_with_three_times_the_passes(ada: Person) -> None:
    space = {"x_method": ["lora"], "learning_rate_multiplier": {"min": 0.1, "max": 10, "scale": "log"}}
    sweep = running(ada, strategy="halving", trials=9, max_epochs=9, parallel=16, space=space)
    first = trials(sweep)
    assert len(first) == 9 and {job.hyperparameters["n_epochs"] for job in first} == {1}
    scores = {job.sweep_number: 0.1 * place for place, job in enumerate(first)} | {8: None}
    for job in first[:-1]:
        end(job, score=scores[job.sweep_number])
    assert step(sweep) == "running" and len(trials(sweep)) == 9, "the rung is not through"
    end(first[-1], score=None)
    assert step(sweep) == "running"
    second = trials(sweep)[9:]
    assert [job.sweep_number for job in second] == [7, 6, 5], "the one that failed counts as worst"
    assert {job.hyperparameters["n_epochs"] for job in second} == {3}
    assert [job.suffix for job in second] == ["triage-r2-t08", "triage-r2-t07", "triage-r2-t06"]
    for job in second:
        end(job, score=0.5 + 0.01 * (job.sweep_number or 0))
    assert step(sweep) == "running"
    (last,) = trials(sweep)[12:]
    assert (last.sweep_number, last.hyperparameters["n_epochs"]) == (7, 9)
    end(last, score=0.95)
    assert step(sweep) == "succeeded"
    assert reload(ada, sweep.public_id).winner_id == last.pk


# ── The budget ──


def for_two_and_a_half(person: Person) -> Sweep:
    """A sweep of three equal trials with a budget for two and a half, started."""
    _, version = ready_dataset(person)
    wanted = body(person, training_file=version.public_id, parallel=3)
    price = person.api.post(f"{SWEEPS}/estimate", wanted).json()["price_usd"]["high"] / 3
    answer = person.api.post(SWEEPS, wanted | {"x_max_price_usd": round(price * 2.5, 9)})
    sweep = reload(person, answer.json()["id"])
    assert step(sweep) == "running"
    return reload(person, sweep.public_id)


def test_the_sweep_ends_with_what_it_has_when_the_budget_is_used_up(ada: Person) -> None:
    sweep = for_two_and_a_half(ada)
    budget, jobs = sweep.budget_nano / 1e9, trials(sweep)
    assert len(jobs) == 2
    found = read(ada, sweep)
    assert found["price_usd"]["reserved"] <= found["price_usd"]["budget"] == pytest.approx(budget)
    end(jobs[0], score=0.7)
    assert step(sweep) == "running" and len(trials(sweep)) == 2, "the open one may leave room"
    end(jobs[1], score=0.6)
    assert step(sweep) == "succeeded"
    found = read(ada, sweep)
    assert (found["ended_because"], found["progress"]["started"]) == ("budget", 2)
    assert found["price_usd"]["spent"] <= found["price_usd"]["budget"] and found["winner"]["score"] == 0.7


def test_a_trial_that_costs_less_than_its_ceiling_leaves_room_for_another(ada: Person) -> None:
    sweep = for_two_and_a_half(ada)
    end(trials(sweep)[0], score=0.7, share=0.2)
    assert step(sweep) == "running" and len(trials(sweep)) == 3
    jobs = trials(sweep)
    held = sum(job.price_nano if job.is_final else (job.ceiling_nano or job.max_price_nano or 0) for job in jobs)
    assert held <= reload(ada, sweep.public_id).budget_nano


def test_no_trial_gets_a_higher_ceiling_than_the_sweep_gave_it(ada: Person) -> None:
    sweep = running(ada)
    job = queue(trials(sweep)[0])
    ada.api.post(f"/v1/fine_tuning/jobs/{job.public_id}/pause")
    answer = ada.api.post(f"/v1/fine_tuning/jobs/{job.public_id}/resume", {"x_max_price_usd": 100})
    assert answer.status_code == 409 and "sweep" in answer.json()["error"]["message"]
    with tenant_scope(ada.tenant.id):
        job_resume(job=job)
    assert queue(job).ceiling_nano == sweep.ceilings[0][0]


def test_a_trial_stopped_at_its_ceiling_is_cancelled_and_counts_as_worst(ada: Person) -> None:
    sweep = running(ada, parallel=1)
    job = queue(trials(sweep)[0])
    with tenant_scope(ada.tenant.id):
        Job.objects.filter(pk=job.pk).update(state="blocked", blocked_by="budget")
    assert step(sweep) == "running"
    assert [job.state for job in trials(sweep)] == ["cancelled"]
    assert step(sweep) == "running" and len(trials(sweep)) == 2


def test_a_spend_limit_that_refuses_a_trial_ends_the_sweep(cast: Cast) -> None:
    sweep = running(cast.owner, parallel=1)
    end(trials(sweep)[0], score=0.8)
    assert step(sweep) == "running"
    with tenant_scope(cast.owner.tenant.id):
        override_set(reason="a test", created_by="test", limits={"monthly_spend_nano": 1})
    assert queue(trials(sweep)[1]).error_code == "budget_exceeded"
    assert step(sweep) == "succeeded"
    found = read(cast.owner, sweep)
    assert (found["ended_because"], found["progress"]["started"]) == ("spend_limit", 2)


def test_a_suspended_organisation_starts_nothing_until_it_is_let_back_in(cast: Cast) -> None:
    sweep = running(cast.owner, parallel=1)
    end(trials(sweep)[0], score=0.5)
    with tenant_scope(cast.owner.tenant.id):
        tenant_set_status(tenant=tenant_current(), status="suspended", reason="a test")
    assert step(sweep) == "running" and len(trials(sweep)) == 1
    with tenant_scope(cast.owner.tenant.id):
        tenant_set_status(tenant=tenant_current(), status="active", reason="a test")
    assert step(sweep) == "running" and len(trials(sweep)) == 2


def test_a_full_queue_is_waited_for(cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.id):
        override_set(reason="one at a time", created_by="test", limits={"queued_jobs": 1})
    sweep = running(cast.owner, parallel=3)
    assert len(trials(sweep)) == 1 and step(sweep) == "running"
    end(trials(sweep)[0], score=0.5)
    assert step(sweep) == "running" and len(trials(sweep)) == 2


def test_a_dataset_deleted_on_the_way_ends_the_sweep_with_the_reason(ada: Person) -> None:
    dataset, version = ready_dataset(ada)
    sweep = running(ada, training_file=version.public_id, parallel=1)
    end(trials(sweep)[0], score=0.5)
    assert ada.api.delete(f"/v1/datasets/{dataset.public_id}").status_code == 200
    assert step(sweep) == "succeeded"
    found = read(ada, sweep)
    assert (found["ended_because"], found["error"]["code"]) == ("refused", "not_found")


def test_as_many_sweeps_are_open_as_jobs_may_wait(cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.id):
        override_set(reason="one at a time", created_by="test", limits={"queued_jobs": 1})
    first = create(cast.owner)
    refused = cast.owner.api.post(SWEEPS, body(cast.owner))
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_limit")
    assert cast.owner.api.post(f"{SWEEPS}/{first.public_id}/cancel").status_code == 200
    step(first)
    assert cast.owner.api.post(SWEEPS, body(cast.owner)).status_code == 200


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    budget=st.floats(0.3, 1.1),
    parallel=st.integers(1, 4),
    ends=st.lists(st.tuples(st.one_of(st.none(), st.floats(0, 1)), st.floats(0, 1)), min_size=13, max_size=13),
)
def test_however_its_trials_end_the_ledger_never_holds_more_than_the_budget(
    ada: Person, budget: float, parallel: int, ends: list[tuple[float | None, float]]
) -> None:
    space = {"x_method": ["lora"], "learning_rate_multiplier": {"min": 0.1, "max": 10, "scale": "log"}}
    wanted = body(ada, strategy="halving", trials=9, parallel=parallel, space=space)
    price = ada.api.post(f"{SWEEPS}/estimate", wanted).json()["price_usd"]["high"]
    sweep = reload(ada, ada.api.post(SWEEPS, wanted | {"x_max_price_usd": round(price * budget, 9)}).json()["id"])
    left, state = list(ends), step(sweep)
    most = reload(ada, sweep.public_id).budget_nano
    while state == "running":
        jobs = trials(sweep)
        held = sum(job.price_nano if job.is_final else (job.ceiling_nano or job.max_price_nano or 0) for job in jobs)
        assert held <= most and sum(not job.is_final for job in jobs) <= parallel
        score, share = left.pop()
        end(next(job for job in jobs if not job.is_final), score=score, share=share)
        state = step(sweep)
    assert sum(job.price_nano for job in trials(sweep)) <= most


# ── Twice, at once, half-way ──


def test_looks_at_once_make_each_trial_once(ada: Person) -> None:
    sweep = create(ada, parallel=2)

    def look(_: int) -> str:
        try:
            return step(sweep)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        states = list(pool.map(look, range(6)))
    assert set(states) <= {"running"}
    jobs = trials(sweep)
    assert [(job.sweep_rung, job.sweep_number) for job in jobs] == [(0, 0), (0, 1)]


def test_a_look_that_dies_half_way_leaves_nothing_and_the_next_one_does_it(
    ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.services import trials as steps

    sweep, made = create(ada, parallel=3), steps.job_create
    calls: list[int] = []

    def dying(**wanted: Any) -> Job:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("killed")
        return made(**wanted)

    monkeypatch.setattr(steps, "job_create", dying)
    with pytest.raises(RuntimeError):
        step(sweep)
    assert len(calls) == 2 and trials(sweep) == []
    monkeypatch.undo()
    assert step(sweep) == "running" and len(trials(sweep)) == 3


def test_the_database_refuses_a_second_trial_of_one_setting(ada: Person) -> None:
    sweep = running(ada)
    with tenant_scope(ada.tenant.id), pytest.raises(IntegrityError), transaction.atomic():
        Job.objects.create(
            project=ada.project,
            task="text-classification",
            base=BASE,
            method="head",
            seed=1,
            sweep=sweep,
            sweep_rung=0,
            sweep_number=0,
        )


def test_the_tick_rings_for_open_sweeps_alone(ada: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    rung: list[tuple[str, ...]] = []
    monkeypatch.setattr(tasks, "_send", lambda task, *ids, queue: rung.append((task, *ids, queue)))
    sweep, over = create(ada), create(ada)
    ada.api.post(f"{SWEEPS}/{over.public_id}/cancel")
    assert step(over) == "cancelled"
    tasks.sweeps_tick()
    ids = {arguments[2] for arguments in rung}
    assert str(sweep.pk) in ids and str(over.pk) not in ids
    assert {(arguments[0], arguments[3]) for arguments in rung} == {("training.sweep_step", "ingest")}
    assert tasks.sweep_look(str(sweep.tenant_id), str(sweep.pk)) == "running"


def test_an_unknown_sweep_is_nobodys_doorbell(ada: Person) -> None:
    assert sweep_step(tenant_id=ada.tenant.id, sweep_id=ada.project.id) == ""


# ── Its end ──


def told(sweep: Sweep) -> bool:
    """Whether a mail went out."""
    return sweep_mail(tenant_id=sweep.tenant_id, sweep_id=sweep.pk)


def test_whoever_started_it_hears_once_who_won_and_nobody_else(ada: Person) -> None:
    mail.outbox.clear()
    quiet, loud = running(ada, parallel=3), running(ada, parallel=3, x_email_on_end=True)
    assert (read(ada, quiet)["x_email_on_end"], read(ada, loud)["x_email_on_end"]) == (False, True)
    assert not told(loud), "nothing to say yet"
    for sweep in (quiet, loud):
        for job, score in zip(trials(sweep), (0.6, 0.9, None), strict=True):
            end(job, score=score)
        assert step(sweep) == "succeeded"
    assert (told(quiet), told(loud), told(loud)) == (False, True, False)
    (letter,) = mail.outbox
    assert letter.to == [ada.user.email] and letter.subject.endswith("has a winner")
    assert read(ada, loud)["winner"]["fine_tuned_model"] in letter.body and "0.900" in letter.body
    assert f"/sweeps/{loud.public_id}/" in letter.body and "x_email_on_end" in letter.body


def test_whoever_started_it_hears_why_it_failed(ada: Person) -> None:
    mail.outbox.clear()
    sweep = running(ada, parallel=3, x_email_on_end=True)
    for job in trials(sweep):
        end(job, score=None)
    assert step(sweep) == "failed" and told(sweep)
    (letter,) = mail.outbox
    assert letter.subject.endswith("failed") and "None of the 3 trials made a model" in letter.body
