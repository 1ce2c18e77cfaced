"""`/v1/fine_tuning/jobs` as a client meets it, before anything trains."""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

from billing.services.entitlements import override_set
from data.services import file_process
from tenants.models import AuditEvent
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person, make_person
from tests.contracts.conformance import answer_schema, differences
from tests.data.making import checked_file, ready_dataset, stored_file
from tests.training.making import BASE, body, create, intents, queued, read, reload
from training.models import Job
from training.selectors import queue
from training.services.claiming import slots_keep
from training.services.queueing import job_validate

JOBS = "/v1/fine_tuning/jobs"


@pytest.fixture(scope="module")
def idle() -> tuple[Person, dict[str, Any]]:
    """Somebody with a checked file and no job: what is refused must leave it so, one try after the other."""
    person = make_person("idle")
    return person, body(person)


@pytest.fixture
def _a_place() -> None:
    """Somewhere to train: how long it takes is foretold of the places there are, and nobody knows while none is.
    What another test saw of the queue a moment ago is forgotten."""
    queue._cache = None
    slots_keep(host="jobs-api-host", count=1, kind="cpu-fp32", gpu_class="cpu")


def test_a_created_job_answers_every_field_of_the_wire(cast: Cast) -> None:
    wanted = body(cast.owner, suffix="triage", seed=7, metadata={"team": "a"}, x_deploy=True)
    answer = cast.owner.api.post(JOBS, wanted).json()
    assert answer["id"].startswith("ftjob-")
    assert (answer["object"], answer["status"], answer["model"]) == ("fine_tuning.job", "validating_files", BASE)
    assert (answer["seed"], answer["metadata"], answer["training_file"]) == (7, {"team": "a"}, wanted["training_file"])
    assert answer["hyperparameters"] == answer["method"]["supervised"]["hyperparameters"]
    assert (answer["x_method"], answer["x_deploy"], answer["x_task"]) == ("head", True, "text-classification")
    assert answer["error"] is None and answer["fine_tuned_model"] is None and answer["result_files"] == []


@pytest.mark.usefixtures("_a_place")
def test_a_valid_file_leads_into_the_queue_with_a_price_and_a_place(cast: Cast) -> None:
    job = queued(cast.owner)
    answer = read(cast.owner, job)
    assert answer["status"] == "queued"
    assert answer["x_queue"]["position"] >= 1 and answer["x_queue"]["reason"]
    assert answer["x_eta_seconds"] > 0 and answer["estimated_finish"] > answer["created_at"]
    assert 0 < answer["x_price"]["low"] <= answer["x_price"]["ceiling"]
    assert answer["x_dataset_version"].startswith("dsv_")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", 5),
        ("training_file", None),
        ("suffix", "x" * 65),
        ("suffix", "with space"),
        ("suffix", "\u202eevil"),
        ("seed", -1),
        ("seed", 2**63),
        ("seed", True),
        ("seed", 1.5),
        ("hyperparameters", {"n_epochs": 0}),
        ("hyperparameters", {"n_epochs": "3"}),
        ("hyperparameters", {"n_epochs": True}),
        ("hyperparameters", {"n_epochs": 1e308}),
        ("hyperparameters", {"batch_size": 257}),
        ("hyperparameters", {"learning_rate_multiplier": 0}),
        ("hyperparameters", {"learning_rate": 1}),
        ("hyperparameters", {"x_lora_rank": 0}),
        ("hyperparameters", {"x_lora_rank": 65}),
        ("hyperparameters", {"x_lora_rank": "8"}),
        ("hyperparameters", {"x_lora_rank": 8}),  # the body's method is `head`
        ("method", {"type": "dpo"}),
        ("method", {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": -1}}}),
        ("metadata", {"k": 1}),
        ("metadata", {f"k{i}": "v" for i in range(17)}),
        ("integrations", [{"type": "wandb", "wandb": {"project": "x"}}]),
        ("x_task", "image-classification"),
        ("x_method", "qlora"),
        ("x_max_price_usd", -1),
        ("x_max_price_usd", "5"),
        ("x_max_price_usd", 0),
        ("x_deploy", 1),
        ("x_columns", {"text": ""}),
        ("x_columns", {"text": "no such column"}),
        ("x_columns", {"weight": "w"}),
        ("tenant_id", "x"),
        ("state", "succeeded"),
    ],
    ids=str,
)
def test_a_wrong_field_is_a_400_that_names_it_and_makes_nothing(
    idle: tuple[Person, dict[str, Any]], field: str, value: Any
) -> None:
    person, wanted = idle
    answer = person.api.post(JOBS, wanted | {field: value})
    error = answer.json()["error"]
    assert answer.status_code == 400 and sorted(error) == ["code", "message", "param", "type"]
    assert error["param"].startswith(field)
    with tenant_scope(person.tenant.id):
        assert not Job.objects.exists()


@pytest.mark.parametrize("raw", ['{"seed": NaN}', '{"x_max_price_usd": Infinity}', '{"seed": 1, "seed": 2}', "[]", "{"])
def test_json_that_is_not_strict_is_a_400(idle: tuple[Person, dict[str, Any]], raw: str) -> None:
    assert idle[0].api.request("post", JOBS, raw).status_code == 400


def test_unknown_and_foreign_files_and_models_are_404(cast: Cast) -> None:
    wanted = body(cast.owner)
    foreign = cast.stranger.api.post(JOBS, wanted)
    assert (foreign.status_code, foreign.json()["error"]["param"]) == (404, "training_file")
    unknown = cast.owner.api.post(JOBS, wanted | {"model": "ft:nobody"})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    assert cast.stranger.api.get(f"{JOBS}/{create(cast.owner).public_id}").status_code == 404


def test_a_rank_reaches_the_trainer_and_belongs_to_lora_alone(cast: Cast) -> None:
    ada = cast.owner
    job = queued(ada, x_method="lora", hyperparameters={"x_lora_rank": 24})
    assert job.spec["config"]["lora_rank"] == 24
    answer = read(ada, job)
    assert answer["hyperparameters"]["x_lora_rank"] == 24
    assert differences(answer_schema("get", f"{JOBS}/{{job}}", 200), answer) == []
    plain = queued(ada, x_method="lora")
    assert read(ada, plain)["hyperparameters"]["x_lora_rank"] == "auto" and "lora_rank" not in plain.spec["config"]
    assert "x_lora_rank" not in read(ada, create(ada))["hyperparameters"]
    clone = f"{JOBS}/{job.public_id}/clone"
    assert ada.api.post(clone, {}).json()["hyperparameters"]["x_lora_rank"] == 24
    assert "x_lora_rank" not in ada.api.post(clone, {"x_method": "full"}).json()["hyperparameters"]
    refused = ada.api.post(clone, {"x_method": "full", "hyperparameters": {"x_lora_rank": 4}})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "hyperparameters.x_lora_rank")


def test_a_job_from_before_there_were_ranks_is_read_as_one_without(cast: Cast) -> None:
    job = create(cast.owner, x_method="lora")
    with tenant_scope(cast.owner.tenant.id):
        Job.objects.update(hyperparameters={"n_epochs": 3, "batch_size": "auto", "learning_rate_multiplier": "auto"})
    assert read(cast.owner, job)["hyperparameters"]["x_lora_rank"] == "auto"
    assert job_validate(tenant_id=job.tenant_id, job_id=job.pk) == "queued"


def test_old_and_new_hyperparameters_are_both_taken_and_must_agree(cast: Cast) -> None:
    old = create(cast.owner, hyperparameters={"n_epochs": 3})
    assert old.hyperparameters["n_epochs"] == 3
    both = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 4, "batch_size": 16}}}
    assert create(cast.owner, method=both).hyperparameters == {
        "n_epochs": 4,
        "batch_size": 16,
        "learning_rate_multiplier": "auto",
    }
    clash = cast.owner.api.post(JOBS, body(cast.owner, method=both, hyperparameters={"n_epochs": 3}))
    assert (clash.status_code, clash.json()["error"]["param"]) == (400, "hyperparameters.n_epochs")


def test_a_job_on_a_file_still_being_read_waits_for_it(cast: Cast) -> None:
    file = stored_file(cast.owner, intents())
    answer = cast.owner.api.post(JOBS, {"model": BASE, "training_file": file.public_id}).json()
    job = reload(cast.owner, answer["id"])
    assert job_validate(tenant_id=job.tenant_id, job_id=job.pk) == "validating_files"
    estimate = cast.owner.api.post(f"{JOBS}/estimate", {"model": BASE, "training_file": file.public_id})
    assert (estimate.status_code, estimate.json()["error"]["code"]) == (409, "file_not_processed")
    assert estimate["x-should-retry"] == "true"


def on_a_bad_file(person: Person) -> Job:
    """A job made while its file, of one label only, was still being read."""
    content = b"text,label\n" + b"".join(b"the very same label %d,only\n" % i for i in range(40))
    file = stored_file(person, content)
    answer = person.api.post(JOBS, {"model": BASE, "training_file": file.public_id}).json()
    file_process(tenant_id=person.tenant.id, file_id=file.pk)
    return reload(person, answer["id"])


def test_blocking_findings_fail_the_job_and_are_all_named(cast: Cast) -> None:
    job = on_a_bad_file(cast.owner)
    assert job_validate(tenant_id=job.tenant_id, job_id=job.pk) == "failed"
    answer = read(cast.owner, job)
    assert answer["status"] == "failed" and answer["finished_at"]
    assert answer["error"]["param"] == "training_file" and "single_class" in answer["error"]["message"]
    events = cast.owner.api.get(f"{JOBS}/{job.public_id}/events").json()["data"]
    assert events[0]["level"] == "error" and "single_class" in events[0]["message"]


UNUSABLE = {
    "single class": (b"text,label\n" + b"".join(b"row number %d,same\n" % i for i in range(40)), "single_class"),
    "one row per class": (b"text,label\n" + b"".join(b"row %d,l%d\n" % (i, i) for i in range(40)), "one_row_classes"),
    "ragged": (intents() + b"one,two,three\n", "ragged_rows"),
    "no label": (b"text,other\n" + b"".join(b"row %d,word%d x\n" % (i, i) for i in range(40)), "label column"),
    "binary": (b"\x7fELF" + bytes(200), "Linux program"),
    "nothing readable": (b'{"text": NaN}\n' * 12, "not_finite"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_file_known_to_be_unusable_is_refused_at_once_and_makes_no_job(cast: Cast, name: str) -> None:
    content, words = UNUSABLE[name]
    file = checked_file(cast.owner, content)
    answer = cast.owner.api.post(JOBS, {"model": BASE, "training_file": file.public_id})
    error = answer.json()["error"]
    assert answer.status_code == 400 and error["param"] in ("training_file", "x_columns") and words in error["message"]
    assert cast.owner.api.get(JOBS).json()["data"] == []


def test_a_job_trains_on_a_dataset_version_as_well(cast: Cast) -> None:
    _, version = ready_dataset(cast.owner)
    job = create(cast.owner, training_file=version.public_id)
    assert job_validate(tenant_id=job.tenant_id, job_id=job.pk) == "queued"
    answer = read(cast.owner, job)
    assert answer["training_file"] == answer["x_dataset_version"] == version.public_id


@pytest.mark.usefixtures("_a_place")
def test_an_estimate_tells_price_time_and_findings_and_makes_nothing(cast: Cast) -> None:
    wanted = body(cast.owner, x_method="lora", content=intents(300))
    answer = cast.owner.api.post(f"{JOBS}/estimate", wanted).json()
    assert answer.get("object") == "fine_tuning.estimate", answer
    assert answer["tokens"] > 0 and answer["queue_seconds"] >= 0
    price = answer["price_usd"]
    assert 0 < price["low"] <= price["high"] <= price["ceiling"]
    assert 0 < answer["seconds"]["low"] <= answer["seconds"]["high"]
    assert set(answer["findings"]) == {"blocking", "warning", "note"}
    with tenant_scope(cast.owner.tenant.id):
        assert not Job.objects.exists()
    capped = cast.owner.api.post(f"{JOBS}/estimate", wanted | {"x_max_price_usd": price["high"] * 0.6}).json()
    assert math.isclose(capped["price_usd"]["ceiling"], price["high"] * 0.6, rel_tol=1e-6)
    low = cast.owner.api.post(f"{JOBS}/estimate", wanted | {"x_max_price_usd": 1e-9})
    assert (low.status_code, low.json()["error"]["param"]) == (400, "x_max_price_usd")


def test_an_estimate_of_a_file_with_blocking_findings_counts_them(cast: Cast) -> None:
    content = b"text,label\n" + b"".join(b"the very same label %d,only\n" % i for i in range(40))
    answer = cast.owner.api.post(f"{JOBS}/estimate", body(cast.owner, content=content)).json()
    assert answer["findings"]["blocking"] >= 1 and answer["price_usd"] is None
    assert answer["x_blocking"][0]["code"] == "single_class"


def test_columns_can_be_named_where_the_guess_was_wrong(cast: Cast) -> None:
    rows = intents().decode().replace("text,label", "a,b")
    wanted = body(cast.owner, content=rows.encode(), x_columns={"text": "a", "label": "b"})
    answer = cast.owner.api.post(f"{JOBS}/estimate", wanted)
    assert answer.status_code == 200 and answer.json()["findings"]["blocking"] == 0


def test_cancel_while_waiting_is_at_once_and_twice_is_the_same(cast: Cast) -> None:
    job = queued(cast.owner)
    first = cast.owner.api.post(f"{JOBS}/{job.public_id}/cancel")
    second = cast.owner.api.post(f"{JOBS}/{job.public_id}/cancel")
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json()["status"] == second.json()["status"] == "cancelled"
    assert first.json()["finished_at"] == second.json()["finished_at"]
    assert cast.stranger.api.post(f"{JOBS}/{job.public_id}/cancel").status_code == 404
    with tenant_scope(cast.owner.tenant.id):
        assert AuditEvent.objects.filter(action="job.cancelled").count() == 1


def test_cancelling_a_job_that_has_failed_is_a_409_not_worth_retrying(cast: Cast) -> None:
    job = on_a_bad_file(cast.owner)
    job_validate(tenant_id=job.tenant_id, job_id=job.pk)
    answer = cast.owner.api.post(f"{JOBS}/{job.public_id}/cancel")
    assert (answer.status_code, answer["x-should-retry"]) == (409, "false")


def test_the_same_create_twice_under_one_key_is_one_job(cast: Cast) -> None:
    wanted = body(cast.owner)
    first = cast.owner.api.post(JOBS, wanted, Idempotency_Key="k1")
    second = cast.owner.api.post(JOBS, wanted, Idempotency_Key="k1")
    assert first.json()["id"] == second.json()["id"] and second["Idempotent-Replayed"] == "true"
    other = cast.owner.api.post(JOBS, wanted | {"suffix": "other"}, Idempotency_Key="k1")
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_mismatch")
    assert "another body" in other.json()["error"]["message"]
    retried = cast.owner.api.post(JOBS, wanted)
    again = cast.owner.api.post(JOBS, wanted, X_Stainless_Retry_Count="1")
    assert retried.json()["id"] == again.json()["id"] != first.json()["id"]


def test_lists_page_and_filter_by_metadata(cast: Cast) -> None:
    wanted = body(cast.owner)
    ids = [
        cast.owner.api.post(JOBS, wanted | {"metadata": metadata}).json()["id"]
        for metadata in ({"team": "a"}, {"team": "b"}, None)
    ]
    page = cast.owner.api.get(f"{JOBS}?limit=2").json()
    assert [job["id"] for job in page["data"]] == [ids[2], ids[1]] and page["has_more"]
    rest = cast.owner.api.get(f"{JOBS}?limit=2&after={page['last_id']}").json()
    assert [job["id"] for job in rest["data"]] == [ids[0]] and not rest["has_more"]
    assert [job["id"] for job in cast.owner.api.get(f"{JOBS}?metadata[team]=b").json()["data"]] == [ids[1]]
    assert [job["id"] for job in cast.owner.api.get(f"{JOBS}?metadata=null").json()["data"]] == [ids[2]]
    assert cast.owner.api.get(f"{JOBS}?metadata=x").status_code == 400
    assert cast.owner.api.get(f"{JOBS}?ordering=tenant").status_code == 400
    foreign = create(cast.stranger).public_id
    assert cast.owner.api.get(f"{JOBS}?after={foreign}").status_code == 400


def test_the_plans_number_of_waiting_jobs_is_a_limit(cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.id):
        override_set(reason="test", created_by="test", limits={"queued_jobs": 3})
    for _ in range(3):
        create(cast.owner)
    answer = cast.owner.api.post(JOBS, body(cast.owner))
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_limit")
    assert answer["Retry-After"] == "60" and "your plan allows 3" in answer.json()["error"]["message"]


def test_creates_at_once_do_not_pass_the_limit_together(cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.id):
        override_set(reason="test", created_by="test", limits={"queued_jobs": 2})
    wanted = body(cast.owner)

    def post(seed: int) -> int:
        try:
            return int(cast.owner.api.post(JOBS, wanted | {"seed": seed}).status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as crowd:
        assert sorted(crowd.map(post, range(6))) == [200, 200, 429, 429, 429, 429]


def test_a_job_without_a_report_says_so(cast: Cast) -> None:
    answer = cast.owner.api.get(f"{JOBS}/{create(cast.owner).public_id}/report")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "report_not_ready")


def test_a_budget_that_cannot_carry_the_ceiling_fails_the_job_with_the_reason(cast: Cast) -> None:
    with tenant_scope(cast.owner.tenant.id):
        override_set(reason="test", created_by="test", limits={"monthly_spend_nano": 1})
    job = create(cast.owner)
    assert job_validate(tenant_id=job.tenant_id, job_id=job.pk) == "failed"
    assert read(cast.owner, job)["error"]["code"] == "budget_exceeded"


@pytest.mark.parametrize("other", ["dpo", "reinforcement"])
def test_settings_of_another_kind_of_training_are_refused_and_not_dropped(cast: Cast, other: str) -> None:
    answer = cast.owner.api.post(JOBS, body(cast.owner, method={"type": "supervised", other: {"beta": 1}}))
    assert answer.status_code == 400 and answer.json()["error"]["param"] == f"method.{other}"
