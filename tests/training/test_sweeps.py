"""`/v1/fine_tuning/sweeps` as a client meets it."""

from typing import Any

import pytest

from data.services import file_process
from tenants.scope import tenant_scope
from tenants.services.keys import key_create
from tenants.services.organisations import project_create
from tests.conftest import Api, Cast, Person, make_person
from tests.contracts.conformance import answer_schema, differences
from tests.data.making import checked_file, stored_file
from tests.training.making import intents
from tests.training.searching import SWEEPS, body, create, end, queue, read, reload, roomy, running, step, trials
from training.models import Job, Sweep


@pytest.fixture(scope="module")
def ada() -> Person:
    """One owner for the whole file, with room for many jobs."""
    return roomy()


@pytest.fixture(scope="module")
def idle() -> tuple[Person, dict[str, Any]]:
    """Somebody with a checked file and no sweep: what is refused must leave it so, one try after the other."""
    person = make_person("idle")
    return person, body(person)


def test_a_created_sweep_answers_every_field_of_the_reference(ada: Person) -> None:
    wanted = body(ada, metadata={"team": "a"}, parallel=3, x_max_price_usd=5)
    answer = ada.api.post(SWEEPS, wanted)
    found = answer.json()
    assert answer.status_code == 200
    assert differences(answer_schema("post", SWEEPS, 200), found) == []
    assert found["id"].startswith("sweep_") and found["object"] == "fine_tuning.sweep"
    assert (found["status"], found["strategy"], found["parallel"]) == ("preparing", "grid", 3)
    assert found["metric"] == {"name": "macro_f1", "split": "validation"}
    assert found["rungs"] == [{"trials": 3, "n_epochs": None}] and found["progress"]["planned"] == 3
    assert found["price_usd"] == {"budget": 5.0, "spent": 0, "reserved": 0} and found["winner"] is None
    assert ada.api.get(SWEEPS).json()["data"][0] == found


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("strategy", "bayes", "strategy"),
        ("strategy", 5, "strategy"),
        ("space", {}, "space"),
        ("space", [], "space"),
        ("space", {"dropout": [0.1]}, "space.dropout"),
        ("space", {"n_epochs": []}, "space.n_epochs"),
        ("space", {"n_epochs": list(range(1, 10_001))}, "space.n_epochs"),
        ("space", {"n_epochs": [1, 1]}, "space.n_epochs"),
        ("space", {"n_epochs": [0]}, "space.n_epochs"),
        ("space", {"n_epochs": [None]}, "space.n_epochs"),
        ("space", {"n_epochs": [[1]]}, "space.n_epochs"),
        ("space", {"n_epochs": [True]}, "space.n_epochs"),
        ("space", {"n_epochs": "3"}, "space.n_epochs"),
        ("space", {"batch_size": [1.5]}, "space.batch_size"),
        ("space", {"batch_size": [{"a": 1}]}, "space.batch_size"),
        ("space", {"x_method": ["qlora"]}, "space.x_method"),
        ("space", {"x_method": {"min": 1, "max": 2}}, "space.x_method"),
        ("space", {"batch_size": [8]}, "space"),
        ("space", {"batch_size": {"min": 8, "max": 64}}, "space.batch_size"),
        ("space", {"n_epochs": list(range(1, 21)), "batch_size": list(range(1, 21))}, "space"),
        ("space", {"x_method": ["lora"], "x_lora_rank": [0, 8]}, "space.x_lora_rank"),
        ("space", {"x_method": ["lora"], "x_lora_rank": [8, 65]}, "space.x_lora_rank"),
        ("space", {"x_method": ["head", "full"], "x_lora_rank": [4, 8]}, "space.x_lora_rank"),
        ("space", {"x_method": ["lora"], "x_lora_rank": [8]}, "space"),
        ("trials", 1, "trials"),
        ("trials", 101, "trials"),
        ("trials", 2, "space"),
        ("trials", "6", "trials"),
        ("max_epochs", 9, "max_epochs"),
        ("parallel", 0, "parallel"),
        ("parallel", 17, "parallel"),
        ("seed", -1, "seed"),
        ("name", "with space", "name"),
        ("name", "x" * 49, "name"),
        ("metadata", {"k": 1}, "metadata"),
        ("x_columns", {"text": "no such column"}, "x_columns"),
        ("x_lane", "express", "x_lane"),
        ("x_max_price_usd", 0, "x_max_price_usd"),
        ("x_max_price_usd", "5", "x_max_price_usd"),
        ("x_max_price_usd", 0.000001, "x_max_price_usd"),
        ("x_deploy", True, "x_deploy"),
        ("state", "succeeded", "state"),
    ],
    ids=str,
)
def test_a_wrong_field_is_a_400_that_names_it_and_makes_nothing(
    idle: tuple[Person, dict[str, Any]], field: str, value: Any, param: str
) -> None:
    person, wanted = idle
    for path in (SWEEPS, f"{SWEEPS}/estimate"):
        answer = person.api.post(path, wanted | {field: value})
        error = answer.json()["error"]
        assert answer.status_code == 400, answer.content
        assert sorted(error) == ["code", "message", "param", "type"]
        assert error["param"].startswith(param), error
    with tenant_scope(person.tenant.id):
        assert not Sweep.objects.exists()


@pytest.mark.parametrize(
    ("axis", "param"),
    [
        ({"min": 3, "max": 1}, "min"),
        ({"min": 1, "max": 1}, "min"),
        ({"min": 0, "max": 1, "scale": "log"}, ""),
        ({"min": -1, "max": 1}, ""),
        ({"min": 1}, "max"),
        ({"max": 1}, "min"),
        ({"min": 1, "max": 2, "scale": "cubic"}, "scale"),
        ({"min": 1, "max": 2, "scale": ["log"]}, "scale"),
        ({"min": 1, "max": 2, "step": 1}, "step"),
        ({"min": "auto", "max": 2}, ""),
        ({"min": 1, "max": 101}, ""),
        ({"min": None, "max": 2}, ""),
        ({}, "min"),
    ],
    ids=str,
)
def test_a_range_of_nonsense_is_a_400_that_names_it(
    idle: tuple[Person, dict[str, Any]], axis: dict[str, Any], param: str
) -> None:
    person, wanted = idle
    changed = wanted | {"strategy": "random", "trials": 4, "space": {"learning_rate_multiplier": axis}}
    answer = person.api.post(SWEEPS, changed)
    assert answer.status_code == 400, answer.content
    assert answer.json()["error"]["param"].startswith(f"space.learning_rate_multiplier{'.' if param else ''}{param}")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400"])
def test_a_number_that_is_none_is_a_400(idle: tuple[Person, dict[str, Any]], number: str) -> None:
    raw = f'{{"strategy": "grid", "space": {{"learning_rate_multiplier": [1, {number}]}}}}'
    assert idle[0].api.request("post", SWEEPS, raw).status_code == 400


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"strategy": "random"}, "trials"),
        ({"strategy": "halving"}, "trials"),
        ({"strategy": "halving", "trials": 2}, "trials"),
        ({"strategy": "halving", "trials": 9, "max_epochs": 2}, "max_epochs"),
        ({"strategy": "halving", "trials": 9, "max_epochs": 51}, "max_epochs"),
        ({"strategy": "halving", "trials": 9, "space": {"n_epochs": [1, 2]}}, "space.n_epochs"),
        ({"strategy": "random", "trials": 6, "space": {"batch_size": [8]}}, "space"),
    ],
    ids=str,
)
def test_strategy_and_counts_must_fit_together(
    idle: tuple[Person, dict[str, Any]], changes: dict[str, Any], param: str
) -> None:
    answer = idle[0].api.post(SWEEPS, idle[1] | changes)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_a_budget_below_the_first_trial_says_what_it_costs(ada: Person) -> None:
    answer = ada.api.post(SWEEPS, body(ada, x_max_price_usd=0.000001))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "price_ceiling_too_low")
    assert "The first trial may cost $" in error["message"]


def test_foreign_and_unknown_things_are_404(cast: Cast) -> None:
    wanted = body(cast.owner)
    foreign = cast.stranger.api.post(SWEEPS, wanted)
    assert (foreign.status_code, foreign.json()["error"]["param"]) == (404, "training_file")
    assert cast.owner.api.post(SWEEPS, wanted | {"model": "nobody"}).status_code == 404
    sweep = create(cast.owner)
    for verb, path in (("get", ""), ("post", "/cancel"), ("get", "/trials")):
        assert cast.stranger.api.request(verb, f"{SWEEPS}/{sweep.public_id}{path}").status_code == 404
        assert cast.owner.api.request(verb, f"{SWEEPS}/sweep_{'0' * 26}{path}").status_code == 404


def test_the_same_idempotency_key_makes_one_sweep(ada: Person) -> None:
    wanted = body(ada)
    first, second = (ada.api.post(SWEEPS, wanted, Idempotency_Key="sweep-1") for _ in range(2))
    assert first.json() == second.json() and second["Idempotent-Replayed"] == "true"


def test_an_estimate_counts_trials_and_prices_them_without_making_anything(idle: tuple[Person, dict[str, Any]]) -> None:
    person, wanted = idle
    path = f"{SWEEPS}/estimate"
    halving = wanted | {
        "strategy": "halving",
        "trials": 18,
        "space": {"x_method": ["lora"], "learning_rate_multiplier": {"min": 0.3, "max": 3, "scale": "log"}},
    }
    found = person.api.post(path, halving).json()
    assert differences(answer_schema("post", path, 200), found) == []
    assert (found["settings"], found["trials"]) == (18, 26)
    assert found["rungs"] == [{"trials": n, "n_epochs": e} for n, e in ((18, 1), (6, 3), (2, 9))]
    price = found["price_usd"]
    assert 0 < price["low"] <= price["high"] == price["ceiling"] and found["x_covers_all"] is True
    capped = person.api.post(path, halving | {"x_max_price_usd": price["high"] / 2}).json()
    assert capped["price_usd"]["ceiling"] == pytest.approx(price["high"] / 2) and capped["x_covers_all"] is False
    with tenant_scope(person.tenant.id):
        assert not Sweep.objects.exists() and not Job.objects.exists()


def test_an_estimate_of_a_file_being_read_asks_to_come_back_and_a_create_waits_for_it(ada: Person) -> None:
    file = stored_file(ada, intents())
    wanted = body(ada) | {"training_file": file.public_id}
    answer = ada.api.post(f"{SWEEPS}/estimate", wanted)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "file_not_processed")
    sweep = reload(ada, ada.api.post(SWEEPS, wanted).json()["id"])
    assert step(sweep) == "preparing"
    file_process(tenant_id=ada.tenant.id, file_id=file.pk)
    assert step(sweep) == "running"


def test_a_file_that_turns_out_unusable_fails_the_sweep_with_its_reason(ada: Person) -> None:
    file = stored_file(ada, b"text,label\n" + b"".join(b"the very same label %d,only\n" % i for i in range(40)))
    sweep = reload(ada, ada.api.post(SWEEPS, body(ada) | {"training_file": file.public_id}).json()["id"])
    file_process(tenant_id=ada.tenant.id, file_id=file.pk)
    assert step(sweep) == "failed"
    found = read(ada, sweep)
    assert found["error"]["code"] == "invalid_training_file" and found["error"]["message"]
    assert trials(sweep) == []


# ── Cancelling ──


def test_archiving_a_project_cancels_its_sweeps_before_they_start_others(cast: Cast) -> None:
    from console.people.closing import project_close

    sweep = running(cast.owner, parallel=1)
    with tenant_scope(cast.owner.tenant.id):
        project_create(name="Another")
        project_close(project=cast.owner.project)
    assert step(sweep) == "cancelled" and [job.state for job in trials(sweep)] == ["cancelled"]


def test_a_cancel_ends_open_trials_free_of_charge_and_keeps_what_was_made(ada: Person) -> None:
    sweep = running(ada, parallel=2)
    one, other = trials(sweep)
    end(one, score=0.7)
    queue(other)
    answer = ada.api.post(f"{SWEEPS}/{sweep.public_id}/cancel")
    assert answer.status_code == 200 and answer.json()["status"] == "cancelling"
    assert ada.api.post(f"{SWEEPS}/{sweep.public_id}/cancel").json()["status"] == "cancelling"
    assert step(sweep) == "cancelled"
    found = read(ada, sweep)
    assert (found["status"], found["ended_because"]) == ("cancelled", None)
    assert (found["winner"]["id"], found["progress"]["cancelled"]) == (one.public_id, 1)
    assert len(trials(sweep)) == 2 and trials(sweep)[1].price_nano == 0
    assert ada.api.post(f"{SWEEPS}/{sweep.public_id}/cancel").json()["status"] == "cancelled"


def test_a_sweep_that_has_ended_cannot_be_cancelled(ada: Person) -> None:
    sweep = running(ada, parallel=3)
    for job in trials(sweep):
        end(job, score=0.5)
    step(sweep)
    answer = ada.api.post(f"{SWEEPS}/{sweep.public_id}/cancel")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "sweep_finished")


def test_a_user_may_cancel_one_trial_and_the_sweep_goes_on(ada: Person) -> None:
    sweep = running(ada, parallel=1)
    assert ada.api.post(f"/v1/fine_tuning/jobs/{trials(sweep)[0].public_id}/cancel").status_code == 200
    assert step(sweep) == "running" and len(trials(sweep)) == 2


def test_a_key_without_the_scope_is_refused(ada: Person) -> None:
    with tenant_scope(ada.tenant.id):
        _, plaintext = key_create(project=ada.project, name="reads", scopes=["jobs.read"])
    sweep, reader = create(ada), Api(plaintext)
    assert reader.get(f"{SWEEPS}/{sweep.public_id}").status_code == 200
    assert reader.post(f"{SWEEPS}/estimate", body(ada)).status_code == 200
    assert reader.post(SWEEPS, body(ada)).status_code == 403
    assert reader.post(f"{SWEEPS}/{sweep.public_id}/cancel").status_code == 403


def test_data_of_an_open_sweep_are_not_thrown_away(ada: Person) -> None:
    from training.selectors.jobs import any_trains_on

    file = checked_file(ada, intents(90, seed=7))
    sweep = running(ada, training_file=file.public_id, parallel=1)
    with tenant_scope(ada.tenant.id):
        Job.objects.filter(sweep=sweep).update(state="cancelled", finished_at="2026-01-01T00:00Z")
        assert sweep.dataset_version_id and any_trains_on([sweep.dataset_version_id])
