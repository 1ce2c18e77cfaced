"""What an estimate says of files before a version of them is written, held against what the version then has."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from data.models import File
from tenants.scope import tenant_scope
from tests.conftest import Cast, Person
from tests.data.making import checked_file
from tests.training.lab.causal_bases import as_jsonl
from tests.training.making import BASE
from tests.training.writing import BASE as WRITER
from training import forecast
from training.lab.estimate import Workload, estimate
from training.models import Job
from training.services import intake, sizing

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MARGIN = 0.25
"""How far above the truth an estimate from a profile may lie on these files, which are far smaller than those that are
estimated so."""


def draft(person: Person, content: bytes, name: str, base: str) -> Job:
    """A job on a file, not saved."""
    file = checked_file(person, content, name)
    task = "text-generation" if base == WRITER else "text-classification"
    knobs = {"n_epochs": 3, "batch_size": "auto", "learning_rate_multiplier": "auto"}
    with tenant_scope(person.tenant.id):
        return Job(
            tenant_id=person.tenant.id, project=person.project, task=task, base=base, method="lora", seed=0, columns={},
            hyperparameters=knobs, training_file_id=file.pk,
        )  # fmt: skip


def sized(person: Person, job: Job) -> Workload:
    """What the estimate goes by."""
    with tenant_scope(person.tenant.id):
        seen = intake.look(job)
        assert seen is not None
        return sizing.workload_of(job, seen)


def written(job: Job) -> Workload:
    """What the run will read."""
    ready = intake.prepare(job)
    assert ready is not None
    return forecast.workload(job, ready.parquet_key)


def examples(name: str) -> bytes:
    return (EXAMPLES / name).read_bytes()


def skewed(rows: int) -> bytes:
    """Labelled texts, most of them short and some of them very long; the long ones come last."""
    rng, lines = random.Random(5), ["text,label"]
    for number in range(rows):
        length = 120 if number > rows * 0.9 else rng.randint(3, 12)
        words = " ".join(rng.choice(["parcel", "refund", "umbrella", "supercalifragilistic"]) for _ in range(length))
        lines.append(f"{words} {number},{rng.choice(['a', 'b', 'c'])}")
    return "\n".join(lines).encode()


def halved(name: str) -> bytes:
    """The example's first rows, with splits of their own, which leave more for training than a cut would."""
    lines = examples(name).decode().splitlines()[:400]
    splits = ["split", *("test" if n % 20 == 0 else "validation" if n % 20 == 1 else "train" for n in range(399))]
    return "\n".join(f"{line},{split}" for line, split in zip(lines, splits, strict=True)).encode()


FILES = [
    ("support_intents.csv", BASE),
    ("support_chat.jsonl", WRITER),
    ("talks.jsonl", WRITER),
    ("pairs.jsonl", WRITER),
    ("skewed.csv", BASE),
    ("halved.csv", BASE),
]


def content(name: str) -> bytes:
    if name.startswith("support"):
        return examples(name)
    if name == "halved.csv":
        return halved("support_intents.csv")
    return skewed(600) if name == "skewed.csv" else as_jsonl(200, chat=name == "talks.jsonl")


@pytest.mark.usefixtures("writing_base")
@pytest.mark.parametrize(("name", "base"), FILES)
def test_a_small_file_is_counted_as_the_run_will_read_it(cast: Cast, name: str, base: str) -> None:
    job = draft(cast.owner, content(name), name, base)
    assert sized(cast.owner, job) == written(job), "rows, tokens, labels, cut rows, each split"


@pytest.mark.usefixtures("writing_base")
@pytest.mark.parametrize(("name", "base"), FILES)
def test_of_a_larger_file_the_upper_end_is_above_the_truth_within_a_margin(
    cast: Cast, name: str, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizing, "COUNTED_BYTES", 0)
    monkeypatch.setattr(sizing, "SAMPLED_ROWS", 150)
    job = draft(cast.owner, content(name), name, base)
    from_files, truth = (estimate(work, epochs=3) for work in (sized(cast.owner, job), written(job)))
    assert truth.tokens_high <= from_files.tokens_high, (truth, from_files)
    small = 1.0 if name in ("support_chat.jsonl", "skewed.csv") else 0.0  # few rows, or very unlike ones, are less sure
    assert from_files.tokens_high <= truth.tokens_high * (1 + MARGIN + small)


@pytest.mark.usefixtures("writing_base")
def test_a_base_with_a_tokenizer_of_its_own_is_counted_with_that(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "COUNTED_BYTES", 0)
    monkeypatch.setattr(sizing, "_same_tokenizer", lambda base: False)
    monkeypatch.setattr(sizing, "SAMPLED_ROWS", 150)
    job = draft(cast.owner, examples("support_intents.csv"), "intents.csv", BASE)
    found, truth = sized(cast.owner, job), written(job)
    assert 0 < found.margin < 0.2
    assert abs(found.tokens["train"] - truth.tokens["train"]) <= found.margin * truth.tokens["train"]


@pytest.mark.usefixtures("writing_base")
def test_a_sample_is_spread_over_the_rows_that_the_jobs_own_columns_make_usable(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file was checked with another column for its texts, which few rows fill."""
    monkeypatch.setattr(sizing, "COUNTED_BYTES", 0)
    monkeypatch.setattr(sizing, "_same_tokenizer", lambda base: False)
    monkeypatch.setattr(sizing, "SAMPLED_ROWS", 150)
    lines = skewed(600).decode().splitlines()[1:]
    content = ["text,body,label", *(f"{'a note' if n < 30 else ''},{line}" for n, line in enumerate(lines))]
    job = draft(cast.owner, "\n".join(content).encode(), "noted.csv", BASE)
    with tenant_scope(cast.owner.tenant.id):
        file = File.objects.get(pk=job.training_file_id)
    assert file.roles["text"] == "text" and file.profile["usable_rows"] == 30
    job.columns = {"text": "body", "label": "label"}
    found, truth = sized(cast.owner, job), written(job)
    assert found.max_length == truth.max_length, "the long rows come last, and some are in the sample"
    assert abs(found.tokens["train"] - truth.tokens["train"]) <= found.margin * truth.tokens["train"]


def test_the_last_reading_for_the_vectors_takes_its_time() -> None:
    work = Workload("full", {"train": 40_000, "validation": 10, "test": 10}, {"train": 10**6, "validation": 10,
                    "test": 10}, 3, 10**7, 64)  # fmt: skip
    fewer = Workload("full", work.rows | {"train": 20_000}, work.tokens, 3, 10**7, 64)
    writes = Workload("full", work.rows, work.tokens, 3, 10**7, 64, task="text-generation")
    kept, all_kept, none = (estimate(one, epochs=1).seconds_high for one in (work, fewer, writes))
    assert all_kept - kept > 50, "half of 40,000 rows are kept, and all of 20,000"
    assert none < kept
