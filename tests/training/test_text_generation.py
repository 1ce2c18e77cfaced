"""A model that writes, from a file of conversations to a version: what is asked for, refused, priced, told and kept."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from kit import storage
from kit.ids import parse_id
from registry.bases import BaseError, catalogue, verify
from registry.selectors import version_of_job
from serving.models import Deployment
from serving.services import deployment_load
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person
from tests.data.making import checked_file
from tests.inference.conftest import TOKEN, running
from tests.training.lab.causal_bases import as_jsonl, gifts, talk
from tests.training.making import create, empty_queue, intents, queued, read, reload
from tests.training.writing import BASE, list_bases
from training.models import Job, JobEvent
from training.selectors import metric_points
from training.services.queueing import job_validate
from training.worker import duty

pytestmark = pytest.mark.slow  # makes its base with torch

KNOBS = {"n_epochs": 2, "batch_size": 8}


def asked(person: Person, **changes: Any) -> Any:
    """The answer to a create on conversations."""
    chat = changes.pop("content", as_jsonl(60, chat=True))
    body = {"model": BASE, "training_file": checked_file(person, chat, "talks.jsonl").public_id, "seed": 5}
    return person.api.post("/v1/fine_tuning/jobs", body | {"hyperparameters": KNOBS} | changes)


def waiting(person: Person, **changes: Any) -> Job:
    """Such a job in the queue."""
    answer = asked(person, **changes)
    assert answer.status_code == 200, answer.content
    job = reload(person, answer.json()["id"])
    assert job_validate(tenant_id=job.tenant_id, job_id=job.pk) == "queued", read(person, job)["error"]
    return reload(person, job.public_id)


@pytest.mark.usefixtures("writing_base")
def test_a_file_of_conversations_becomes_a_model_that_writes_and_is_served(cast: Cast, settings: Any) -> None:
    empty_queue()
    job = waiting(cast.owner, suffix="gifts")
    assert (job.task, job.method, job.group_key) == ("text-generation", "lora", "")
    assert duty.work_once()
    answer = read(cast.owner, job)
    assert answer["status"] == "succeeded", answer["error"]
    assert answer["x_task"] == "text-generation" and answer["trained_tokens"] == job.estimate["tokens"]["high"]
    assert 0 < answer["x_price_usd"] <= answer["x_price"]["ceiling"]
    with tenant_scope(cast.owner.tenant.id):
        version = version_of_job(job.pk)
        assert version is not None and version.model.task == "text-generation"
        points = metric_points(job)
        said = list(JobEvent.objects.filter(job=job).order_by("seq").values_list("message", flat=True))
        manifest = json.loads(b"".join(storage.read_chunks(f"{version.artefact_prefix}/artefact.json")))
    assert version.labels == [] and set(version.metrics) == {
        "loss", "perplexity", "token_accuracy", "baseline_perplexity", "gate_passed"
    }  # fmt: skip
    assert version.metrics["perplexity"] < version.metrics["baseline_perplexity"]
    assert (manifest["task"], manifest["max_length"], manifest["labels"]) == ("text-generation", 256, [])
    assert {"train_loss", "valid_loss", "valid_mean_token_accuracy"} <= set(points)
    assert "valid_macro_f1" not in points and "valid_accuracy" not in points
    assert any("token accuracy=" in line for line in said) and not any("labels" in line for line in said)
    report = cast.owner.api.get(f"/v1/fine_tuning/jobs/{job.public_id}/report").json()
    assert report["baseline"]["name"] == BASE and report["verdict"]["metric"] == "loss"
    content = b"".join(cast.owner.api.get(f"/v1/files/{answer['result_files'][0]}/content")).decode()
    header, *rows = csv.reader(content.splitlines())
    assert header[0] == "step" and "valid_mean_token_accuracy" in header and len(rows) >= 2
    model = cast.owner.api.get(f"/v1/models/{answer['fine_tuned_model']}").json()
    assert model["x_tasks"] == ["text-generation"] and model["x_labels"] == 0
    base = cast.owner.api.get(f"/v1/models/{BASE}").json()
    assert (base["x_methods"], base["x_tasks"]) == (["lora"], ["text-generation"])
    with running("--precision", "fp32", "--threads", "1", "--catalogue", settings.BASES_FILE) as engine:
        settings.ENGINE_ADDRESS, settings.ENGINE_TOKEN = engine.address, TOKEN
        made = cast.owner.api.post("/v1/deployments", {"model": answer["fine_tuned_model"]}).json()
        deployment_id = parse_id(Deployment.prefix, made["id"])
        assert deployment_load(tenant_id=cast.owner.tenant.id, deployment_id=deployment_id) == "live"
    served = cast.owner.api.get(f"/v1/deployments/{made['id']}").json()
    assert served["parity"]["passed"] and served["parity"]["worst"] < 1e-3, served


@pytest.mark.usefixtures("writing_base")
def test_prompts_with_completions_train_under_any_names_within_a_ceiling(cast: Cast) -> None:
    empty_queue()
    lines = ["Question,Answer", *(f'"{prompt}","{completion}"' for prompt, completion in gifts(60))]
    columns = {"prompt": "Question", "completion": "Answer"}
    answer = asked(cast.owner, content="\n".join(lines).encode(), x_columns=columns)
    job = reload(cast.owner, answer.json()["id"])
    assert job_validate(tenant_id=job.tenant_id, job_id=job.pk) == "queued"
    least = reload(cast.owner, job.public_id).estimate["nano"]["high"] / 2
    cheap = waiting(
        cast.owner, content="\n".join(lines).encode(), x_columns=columns, x_max_price_usd=least * 1.05 / 1e9
    )
    cast.owner.api.post(f"/v1/fine_tuning/jobs/{job.public_id}/cancel")
    assert duty.work_once()
    ended = read(cast.owner, cheap)
    assert ended["status"] == "succeeded", ended["error"]
    assert ended["x_step"] == cheap.spec["config"]["max_steps"] and ended["x_price_usd"] <= ended["x_price"]["ceiling"]


@pytest.mark.usefixtures("writing_base")
def test_what_does_not_fit_a_model_that_writes_is_refused_with_its_field(cast: Cast) -> None:
    for change, status, param, words in (
        ({"x_method": "full"}, 400, "x_method", "trained with lora"),
        ({"x_task": "text-classification"}, 400, "x_task", "cannot be tuned for"),
        ({"x_task": "poetry"}, 400, "x_task", "text-classification, text-generation"),
        ({"x_gpus": 2}, 400, "x_gpus", "one place"),
        ({"content": intents(30)}, 422, "training_file", "conversations"),
        ({"model": "all-MiniLM-L6-v2"}, 422, "training_file", "rows with a text and a label"),
    ):
        answer = asked(cast.owner, **change)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (status, param), (change, error)
        assert words in error["message"], error
    space = {"batch_size": [4, 8]}
    sweep = {"model": BASE, "training_file": checked_file(cast.owner, intents(30)).public_id, "strategy": "grid"}
    answer = cast.owner.api.post("/v1/fine_tuning/sweeps", sweep | {"space": space})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "model"


@pytest.mark.usefixtures("writing_base")
def test_rows_that_teach_nothing_are_named_and_stop_the_job(cast: Cast) -> None:
    good = [{"messages": talk(*row)} for row in gifts(12)]
    quiet = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]}
    empty = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]}
    odd = {"messages": [{"role": "robot", "content": "a"}]}
    content = "\n".join(json.dumps(row) for row in (*good, quiet, empty, odd)).encode()
    error = asked(cast.owner, content=content).json()["error"]
    for words in ("no_weight: 1 row has weight 0", "empty_message: 1 row", "unknown_role: 1 row"):
        assert words in error["message"], error
    few = "\n".join(json.dumps(row) for row in good[:9]).encode()
    assert "at least 10" in asked(cast.owner, content=few).json()["error"]["message"]


@pytest.mark.usefixtures("writing_base")
def test_an_estimate_is_given_from_a_file_and_counted_once_its_version_is_there(cast: Cast) -> None:
    file = checked_file(cast.owner, as_jsonl(80, chat=True), "talks.jsonl").public_id
    wanted = {"model": BASE, "training_file": file, "hyperparameters": KNOBS}
    first = cast.owner.api.post("/v1/fine_tuning/jobs/estimate", wanted).json()
    assert first["tokens"] > 0 and first["x_max_length"] == 256 and first["x_labels"] == 0, first
    job = queued(cast.owner, model=BASE, training_file=file, hyperparameters=KNOBS, x_method="lora")
    version = read(cast.owner, job)["x_dataset_version"]
    counted = cast.owner.api.post("/v1/fine_tuning/jobs/estimate", wanted | {"training_file": version}).json()
    assert counted["tokens"] == job.estimate["tokens"]["high"]


@pytest.mark.usefixtures("writing_base")
def test_rows_over_the_context_are_told_before_the_run(cast: Cast) -> None:
    rows = [{"prompt": prompt, "completion": completion} for prompt, completion in gifts(30)]
    rows[3]["completion"] = " and on" * 100
    job = waiting(cast.owner, content="\n".join(json.dumps(row) for row in rows).encode())
    with tenant_scope(cast.owner.tenant.id):
        told = JobEvent.objects.get(job=job, code="rows_cut")
    assert (told.level, told.data) == ("warn", {"rows": 1, "max_length": 256})
    cast.owner.api.post(f"/v1/fine_tuning/jobs/{job.public_id}/cancel")


@pytest.mark.usefixtures("writing_base")
def test_a_clone_asks_for_the_same_and_a_default_method_is_lora(cast: Cast) -> None:
    job = create(cast.owner, model=BASE, training_file=checked_file(cast.owner, as_jsonl(30, chat=False)).public_id,
                 x_method="lora")  # fmt: skip
    clone = cast.owner.api.post(f"/v1/fine_tuning/jobs/{job.public_id}/clone", {}).json()
    assert (clone["x_task"], clone["x_method"], clone["model"]) == ("text-generation", "lora", BASE)
    for one in (job.public_id, clone["id"]):
        cast.owner.api.post(f"/v1/fine_tuning/jobs/{one}/cancel")


def test_every_file_that_shapes_what_a_base_reads_is_pinned(
    llama_folder: Path,
    tmp_path: Path,
    settings: Any,
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in llama_folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    entry = {BASE: {"folder": str(copy), "max_length": 256}}
    list_bases(tmp_path, settings, entry)
    base = catalogue()[BASE]
    assert {"chat_template.jinja", "tokenizer_config.json", "generation_config.json"} <= set(base.sha256)
    verify(base)
    (copy / "chat_template.jinja").write_text("another")
    with pytest.raises(BaseError, match=r"chat_template\.jinja is not the file"):
        verify(base)
    pins = {name: digest for name, digest in base.sha256.items() if name != "chat_template.jinja"}
    for changes, words in (
        ({"sha256": pins}, "pins no sha256 for chat_template.jinja"),
        ({"tasks": ["text-summary"]}, "text-summary"),
        ({"tasks": []}, "no task"),
    ):
        list_bases(tmp_path, settings, entry, **changes)
        with pytest.raises(BaseError, match=words):
            catalogue()
    catalogue.cache_clear()


def test_an_encoder_is_no_base_for_text(tmp_path: Path, settings: Any) -> None:
    catalogue.cache_clear()
    folder = catalogue()["all-MiniLM-L6-v2"].folder
    list_bases(tmp_path, settings, {"mini": {"folder": str(folder), "max_length": 128}})
    with pytest.raises(BaseError, match="no causal language model"):
        catalogue()
    catalogue.cache_clear()
