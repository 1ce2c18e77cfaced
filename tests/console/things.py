"""One of everything, for pages to show: a checked file, a dataset, jobs in each state, a model with a report."""

import datetime as dt
import json
import math
from typing import Any
from uuid import UUID

import numpy as np

from billing.models import ModelLimits
from billing.quotas.trace import Refusal
from billing.services.credits import credit_grant
from billing.services.decisions import decisions_record
from billing.services.entitlements import override_set
from billing.services.limits import member_limits_set, model_limits_set
from billing.services.wallet import postpaid_set
from data.models import DatasetVersion, File
from data.services import dataset_create, version_write
from data.services.datasets import Source
from evaluation.curves import Scored, of_report
from evaluation.replies import Told
from evaluation.replies import build as writing_report
from hooks.catalogue import EVENT_TYPES, KINDS
from hooks.models import Delivery, DeliveryTry, Endpoint
from hooks.services import endpoint_create, event_publish
from kit.clock import now
from kit.ids import new_id, public_id
from registry.models import ModelVersion
from registry.services import summary
from serving.models import Deployment
from serving.services import deployment_create
from tenants.models import Member
from tenants.scope import tenant_scope
from tests.conftest import Person
from tests.data.making import checked_file, stored_file
from tests.registry.making import make_model
from tests.training import searching
from training.models import Job, JobEvent, Sweep

LABELS = ["refund_status", "cancel_order", "change_address", "human_agent"]
TEXTS = {
    "refund_status": "where is my refund for order {n}",
    "cancel_order": "please cancel order number {n} today",
    "change_address": "the parcel {n} should go to my new address",
    "human_agent": "let me talk to a person about case {n}",
}


def csv_bytes(each: int = 30, *, noise: bool = True) -> bytes:
    """A small CSV of support requests, with a duplicate and a label conflict when noisy."""
    lines = ["text,label"]
    lines += [f"{TEXTS[label].format(n=i)},{label}" for i in range(each) for label in LABELS]
    if noise:
        lines += [lines[1], TEXTS["refund_status"].format(n=2) + ",human_agent"]
    return ("\n".join(lines) + "\n").encode()


def made_file(person: Person, *, content: bytes | None = None, name: str = "support.csv", checked: bool = True) -> File:
    """An uploaded file, checked unless told otherwise."""
    content = content or csv_bytes()
    return checked_file(person, content, name) if checked else stored_file(person, content, name)


def made_talk(person: Person) -> DatasetVersion:
    """A written version of conversations."""
    turns = [
        {
            "messages": [
                {"role": "user", "content": text.format(n=i * 7919)},
                {"role": "assistant", "content": f"Do {i}."},
            ]
        }
        for i in range(30)
        for text in TEXTS.values()
    ]
    content = "".join(json.dumps(turn) + "\n" for turn in turns).encode()
    return written(person, made_file(person, content=content, name="talk.jsonl"), name="support-chat")


def made_version(person: Person, *, ready: bool = True) -> DatasetVersion:
    """A dataset's first version, written unless told otherwise."""
    file = made_file(person, content=csv_bytes(noise=False))
    return written(person, file, name="support-tickets", ready=ready)


def written(person: Person, file: File, *, name: str, ready: bool = True) -> DatasetVersion:
    """A file's version, written unless told otherwise."""
    with tenant_scope(person.tenant.id):
        version = dataset_create(project_id=person.project.id, name=name, sources=[Source(file)])
    if ready:
        version_write(tenant_id=person.tenant.id, version_id=version.pk)
    with tenant_scope(person.tenant.id):
        found: DatasetVersion = DatasetVersion.objects.select_related("dataset").get(pk=version.pk)
    return found


def made_job(person: Person, *, state: str = "cancelled", events: int = 0, **fields: Any) -> Job:
    """A job row in a state, with points in its log."""
    final = state in ("succeeded", "failed", "cancelled")
    values: dict[str, Any] = {
        "project": person.project,
        "task": "text-classification",
        "base": "all-MiniLM-L6-v2",
        "method": "lora",
        "suffix": "refunds-v3",
        "seed": 7,
        "training_file_id": person.project.id,
        "state": state,
        "finished_at": now() if final else None,
        "created_by": "Ada",
        "ceiling_nano": 4_200_000_000,
        "estimate": {"nano": {"low": 2_000_000_000, "high": 4_200_000_000}, "seconds": {"low": 180, "high": 260}},
    }
    with tenant_scope(person.tenant.id):
        job: Job = Job.objects.create(**{**values, **fields})
        for i in range(events):
            step = (i + 1) * 10
            JobEvent.objects.create(job=job, seq=2 * i + 1, type="metrics", message=f"Step {step}", data=point(step, i))
            if i % 8 == 7:
                text = f"Pass {i // 8 + 1}: validation loss measured"
                JobEvent.objects.create(job=job, seq=2 * i + 2, message=text)
        Job.objects.filter(pk=job.pk).update(event_seq=2 * events + 2)
    return job


def point(step: int, i: int) -> dict[str, Any]:
    """One metrics event."""
    data: dict[str, Any] = {"step": step, "total_steps": 900, "train_loss": 1.5 / (1 + i / 9)}
    if i % 8 == 7:
        data |= {"valid_loss": 1.6 / (1 + i / 9), "valid_macro_f1": 1 - 0.5 / (1 + i / 8), "valid_accuracy": 0.9}
    return data


def report() -> dict[str, Any]:
    """A report of format 1, with every part."""
    figure = {"value": 0.91, "low": 0.89, "high": 0.93, "n": 660}
    floor = {"value": 0.79, "low": 0.76, "high": 0.82, "n": 660}
    counts = [[231, 6, 2, 4], [9, 180, 3, 8], [4, 7, 76, 6], [14, 11, 3, 96]]
    return {
        "format": 1,
        "task": "text-classification",
        "labels": LABELS,
        "n": {"train": 5280, "validation": 660, "test": 660},
        "test": {"macro_f1": figure, "accuracy": figure, "ece": {"value": 0.031, "low": 0.02, "high": 0.05, "n": 660}},
        "per_class": [
            {"label": label, "precision": 0.9, "recall": 0.88, "f1": f1, "n": n}
            | {"f1_low": f1 - 0.05, "f1_high": f1 + 0.03}
            for label, f1, n in zip(LABELS, (0.94, 0.91, 0.83, 0.61), (243, 200, 93, 37), strict=True)
        ],
        "confusion": counts,
        "calibration": {
            "temperature": 1.21,
            "bins": [
                {"low": i / 10, "high": (i + 1) / 10, "n": i * i, "confidence": i / 10 + 0.05}
                | {"accuracy": i / 10 + 0.03}
                for i in range(10)
            ],
        },
        "baseline": {"name": "tf-idf + linear", "accuracy": floor, "macro_f1": floor},
        "verdict": {"better_by": 0.12, "low": 0.09, "high": 0.15, "text_code": "better_than_baseline"},
        "gate": {"passed": True, "reasons": [{"code": "better", "message": "Macro-F1 beats the baseline."}]},
        "errors": [
            {"row_id": 241, "text": "i want my money " * 20, "label": LABELS[0], "predicted": LABELS[3]}
            | {"confidence": 0.97}
        ],
        "pr": curves(),
        "errors_by_class": {
            "human_agent": [
                {"row_id": 7, "text": "only this class", "label": "human_agent", "predicted": LABELS[1]}
                | {"confidence": 0.8}
            ]
        },
        "training": {"seed": 7, "method": "lora", "base": "all-MiniLM-L6-v2", "epochs_run": 5, "best_epoch": 4,
                     "steps": 900, "tokens": 412_000, "seconds": 214, "device": "cpu", "precision": "bf16"},
        "limits": [{"code": "small_classes", "message": "human_agent has 37 test rows; its interval is wide."}],
    }  # fmt: skip


def curves() -> dict[str, Any]:
    """Precision–recall curves of made-up scores, as the recipe keeps them."""
    noise = np.random.default_rng(3)
    truth = noise.integers(0, len(LABELS), 200)
    powers = np.exp(noise.normal(size=(200, len(LABELS))) + 2 * (truth[:, None] == np.arange(len(LABELS))))
    scored = Scored(truth, powers / powers.sum(axis=1, keepdims=True))
    return of_report(LABELS, scored, scored)


def made_model(person: Person, *, suffix: str = "refunds-v3", job_id: UUID | None = None) -> ModelVersion:
    """A published model with a full report."""
    version = make_model(person, suffix=suffix, job_id=job_id)
    with tenant_scope(person.tenant.id):
        ModelVersion.objects.filter(pk=version.pk).update(report=report(), metrics=summary(report()))
        found: ModelVersion = ModelVersion.objects.select_related("model").get(pk=version.pk)
    return found


def made_writer(person: Person, *, suffix: str = "stories") -> ModelVersion:
    """A published model that writes, with a full report."""
    version = make_model(person, suffix=suffix, task="text-generation")
    rng = np.random.default_rng(3)
    tokens = rng.integers(5, 60, 80)
    tuned, base = (Told(tokens * rng.uniform(0.8, 1.2, 80) * loss, tokens, tokens // 2) for loss in (0.7, 2.1))
    found = writing_report(
        task="text-generation",
        row_ids=list(range(1, 81)),
        texts=[f"A prompt of row {n}. Its reply." for n in range(1, 81)],
        tuned=tuned,
        base=base,
        base_name="tiny-llama",
        counts={"train": 640, "validation": 80, "test": 80},
        training={
            "seed": 7,
            "base": "tiny-llama",
            "method": "lora",
            "best_epoch": 2,
            "epochs_run": 3,
            "tokens": 90_000,
        },
        limits=[{"code": "plain_chat", "message": "The base has no chat template."}],
        resamples=200,
    )
    with tenant_scope(person.tenant.id):
        ModelVersion.objects.filter(pk=version.pk).update(report=found, metrics=summary(found))
        made: ModelVersion = ModelVersion.objects.select_related("model").get(pk=version.pk)
    return made


def made_dataset_of(person: Person, content: bytes) -> DatasetVersion:
    """A written dataset of a file's rows."""
    file = checked_file(person, content, "rows.jsonl")
    with tenant_scope(person.tenant.id):
        version = dataset_create(project_id=person.project.id, name="Talks", sources=[Source(file)])
    version_write(tenant_id=person.tenant.id, version_id=version.id)
    with tenant_scope(person.tenant.id):
        found: DatasetVersion = DatasetVersion.objects.select_related("dataset").get(pk=version.pk)
    return found


def made_sweep(person: Person, *, name: str = "support-triage", over: bool = True) -> Sweep:
    """A sweep by halving: over, with a winner and its model, or in the middle of its second rung."""
    with tenant_scope(person.tenant.id):
        override_set(reason="many trials", created_by="test", limits={"queued_jobs": 100})
    space = {
        "x_method": ["lora", "full"],
        "x_lora_rank": [4, 8, 16],
        "learning_rate_multiplier": {"min": 0.2, "max": 5.0, "scale": "log"},
        "batch_size": [16, 32],
    }
    wanted = {"strategy": "halving", "trials": 9, "max_epochs": 9, "parallel": 9, "space": space, "name": name}
    sweep = searching.running(person, **wanted)
    for number, job in enumerate(searching.trials(sweep)):
        rate = job.hyperparameters["learning_rate_multiplier"]
        score = 0.86 - 0.05 * abs(math.log(rate / 1.3)) + (0.02 if job.method == "full" else 0)
        searching.end(job, score=None if number == 4 else score, share=0.7)
    searching.step(sweep)
    first, *others = searching.trials(sweep)[9:]
    searching.end(first, score=0.881, share=0.6)
    for job in others:
        searching.queue(job)
    if over:
        for number, job in enumerate(others):
            made = make_model(person, suffix=job.suffix, job_id=job.pk)
            searching.end(job, score=0.874 - 0.01 * number, made=made)
        searching.step(sweep)
        last = searching.end(searching.trials(sweep)[-1], score=0.9034)
        made_model(person, suffix=last.suffix, job_id=last.pk)
        assert searching.step(sweep) == "succeeded"
    return searching.reload(person, sweep.public_id)


def made_deployment(person: Person, *, state: str = "live") -> Deployment:
    """A deployment in a state, without an engine behind it."""
    version = made_model(person)
    with tenant_scope(person.tenant.id):
        made = deployment_create(project=person.project, model=version.model.name, created_by="Ada")
        parity = {"passed": True, "texts": 32, "worst": 0.0004, "mean": 0.0001, "tolerance": 0.01}
        Deployment.objects.filter(pk=made.pk).update(state=state, live_at=now(), parity=parity, max_length=128)
    return made


def made_webhook(person: Person) -> Endpoint:
    """A failing endpoint with a delivery in each state, and the tries that led there."""
    url = "http://localhost:9/a-rather-long-path/that-somebody-chose/for-tunesmith?and=a-query"
    with tenant_scope(person.tenant.id):
        made, _ = endpoint_create(project=person.project, name="job-bot", url=url, event_types=list(EVENT_TYPES))
        ends: tuple[tuple[str, int | None, str], ...] = (
            ("delivered", 204, ""),
            ("failed", 500, "It answered 500."),
            (
                "blocked",
                None,
                "“hooks.example.com” leads to 10.0.0.1, which is not a public address. Nothing was sent.",
            ),
            ("pending", None, "No answer within 15 seconds."),
        )
        for kind, (state, status, error) in zip(EVENT_TYPES, ends, strict=False):
            event_publish(project_id=person.project.id, type=kind, data=KINDS[kind].sample)
            row = Delivery.objects.filter(endpoint=made).latest("pk")
            said = {"status_code": status, "error": error, "duration_ms": 84, "excerpt": "<b>said</b> " * 20}
            DeliveryTry.objects.create(delivery=row, number=1, **said)
            later = now() + dt.timedelta(hours=2) if state == "pending" else None
            Delivery.objects.filter(pk=row.pk).update(state=state, tries=1, next_at=later, **said)
        spell = {
            "failures": 3,
            "failing_since": now(),
            "failed_at": now(),
            "resting_until": now() + dt.timedelta(hours=1),
        }
        Endpoint.objects.filter(pk=made.pk).update(**spell)
    return made


LIMITED = "ft:all-MiniLM-L6-v2:ada-works:support-intents:0190aa11bb22cc33"


def seat_of(person: Person) -> Member:
    """The person's seat."""
    with tenant_scope(person.tenant.id):
        found: Member = Member.objects.get(user=person.user)
        return found


def limits_set(person: Person) -> None:
    """Limits of a member and a model."""
    with tenant_scope(person.tenant.id):
        some = {"requests_per_minute": 30, "output_tokens_per_minute": 9000, "monthly_spend_nano": 10**9}
        model_limits_set(project=person.project, model=LIMITED, limits=some)
        member_limits_set(member=Member.objects.get(user=person.user), limits=some | {"concurrency": 2})


def credited(person: Person) -> None:
    """Credit of two kinds, partly used, and a limit on account."""
    with tenant_scope(person.tenant.id):
        postpaid_set(nano=0)
        end = now() + dt.timedelta(days=30)
        credit_grant(kind="promo", amount_nano=20 * 10**9, source=f"t:{new_id()}", reason="Welcome", expires_at=end)
        credit_grant(kind="prepaid", amount_nano=50 * 10**9, source=f"t:{new_id()}")


def refused_calls(person: Person) -> None:
    """Calls that limits of every scope refused, for every reason."""
    limits_set(person)
    with tenant_scope(person.tenant.id):
        scopes = {
            "tenant": person.tenant.id.hex,
            "project": person.project.id.hex,
            "member": person.user.pk.hex,
            "key": person.key_row.id.hex,
            "model": ModelLimits.objects.get(model=LIMITED).pk.hex,
        }
    kinds = (
        ("tenant", "spend", 2 * 10**9, "spend", None),
        ("project", "tokens", 50_000, "too_large", None),
        ("member", "concurrency", 2, "concurrency", None),
        ("key", "requests", 60, "rate", 740),
        ("model", "output_tokens", 9_000, "rate", 31_000),
    )
    common = {"tenant_id": person.tenant.id, "project_id": person.project.id, "key_id": person.key_row.id}
    made = [
        Refusal(
            **common, at_ms=int(now().timestamp() * 1000) - 40_000 * place, model=LIMITED, kind="classify", layer=layer,
            request_ids=[public_id("req_", new_id())], scope_id=scopes[layer], limit_kind=kind, cap=cap,
            window_ms=60_000, asked=9_500 if kind != "concurrency" else 1, remaining=12 * place, wait_ms=wait,
            reason=reason, status=402 if kind == "spend" else 429, refused=1 + 40 * place,
        )
        for place, (layer, kind, cap, reason, wait) in enumerate(kinds)
    ]  # fmt: skip
    away = Refusal(
        **common, at_ms=int(now().timestamp() * 1000) - 9**6, model=LIMITED, kind="chat", layer="platform",
        request_ids=[public_id("req_", new_id())], scope_id="", limit_kind="spend", cap=0, window_ms=0, asked=9_500,
        remaining=None, wait_ms=1000, reason="away", status=503,
    )  # fmt: skip
    decisions_record([*made, away])
