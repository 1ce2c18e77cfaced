"""What a run will cost in tokens, time and money, from the lab's own arithmetic. Loads a tokenizer, never torch."""

import functools
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from django.conf import settings

from inference.tasks import TEXT_GENERATION
from kit import storage
from kit.errors import BadRequest
from registry.bases import Base
from registry.selectors import base_by_name
from training.errors import FileUnusable
from training.lab.config import Config
from training.lab.dialogues import LONGEST
from training.lab.errors import BadData
from training.lab.estimate import Workload, estimate, measure, pays
from training.lab.plan import plan_for
from training.models import Job

ON_GPUS = ":cuda"
"""See `group_key`."""
CEILING_MARGIN = 0.97
"""Share of the ceiling that steps may use: a step's tokens vary around their mean."""

EACH_MORE = 0.8
"""How much of one GPU's speed each further one is taken to add: an allowance for what they tell each other."""
FULL = "full"
"""A method to count for: what is read is the same for all of them."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Ranges from an early stop on a quiet machine to every pass on a busy one."""

    tokens_low: int
    tokens_high: int
    tokens_least: int
    seconds_low: int
    seconds_high: int
    nano_low: int
    nano_high: int
    nano_least: int
    epochs: int
    steps_per_epoch: int
    rows: int
    labels: int
    max_length: int
    cut_rows: int
    learning_rate: float | str

    def as_dict(self) -> dict[str, Any]:
        """What is kept with the job."""
        return {
            "tokens": {"low": self.tokens_low, "high": self.tokens_high},
            "seconds": {"low": self.seconds_low, "high": self.seconds_high},
            "nano": {"low": self.nano_low, "high": self.nano_high},
            "epochs": self.epochs,
            "steps_per_epoch": self.steps_per_epoch,
            "max_length": self.max_length,
            "cut_rows": self.cut_rows,
        }

    def steps_within(self, ceiling: int) -> int | None:
        """The training steps a ceiling pays for; None when it pays for all of them."""
        if ceiling >= self.nano_high or not self.nano_high:
            return None
        passes = ceiling / max(1, self.nano_least) * CEILING_MARGIN
        return max(1, math.floor(passes * self.steps_per_epoch))


def group_key(job: Job, planned: Forecast) -> str:
    """What jobs have in common that may train in one process: the lab's `group.py` says what must be alike. Empty where
    the job changes its base, needs several places, or its steps are so large that sharing gains nothing anywhere; with
    `ON_GPUS` at its end where it gains on GPUs alone. The place it will train on is not known yet."""
    tokens = planned.tokens_least // max(1, planned.steps_per_epoch)
    if job.task == TEXT_GENERATION or job.method != "lora" or job.width > 1 or not pays([tokens, tokens], "cuda"):
        return ""
    where = "" if pays([tokens, tokens], "cpu") else ON_GPUS
    return f"{job.task}:{base_by_name(job.base).fingerprint[:32]}{where}"


def likely_seconds(estimate: dict[str, Any]) -> float:
    """The middle of what a job's estimate says; a minute where it says nothing."""
    seconds = estimate.get("seconds") or {}
    return (float(seconds.get("low", 60)) + float(seconds.get("high", 60))) / 2


def forecast(job: Job, parquet_key: str, *, price: int) -> Forecast:
    """Count a dataset version against the job's base. `price` is nano per million trained tokens."""
    return forecast_work(job, workload(job, parquet_key), price=price)


def workload(job: Job, parquet_key: str) -> Workload:
    """What a run on a dataset version would read; the same for every setting of the job but its base and method.

    A version never changes, so what this process has counted lately is not counted again.
    """
    base = base_by_name(job.base)
    return replace(_counted(parquet_key, base.name, base.fingerprint, job.task), method=job.method)


@functools.lru_cache(maxsize=512)
def _counted(parquet_key: str, base_name: str, fingerprint: str, task: str) -> Workload:
    with storage.local_path(parquet_key) as data:
        return measured(data, base_by_name(base_name), task)


def measured(data: Path, base: Base, task: str) -> Workload:
    """Count a dataset version's file against a base, for full tuning. FileUnusable where it cannot be trained on."""
    try:
        if task == TEXT_GENERATION:
            return measure(data, base.folder, method=FULL, max_length=min(base.max_length, LONGEST), task=task)
        work = measure(data, base.folder, method=FULL)
        if work.max_length > base.max_length:
            work = measure(data, base.folder, method=FULL, max_length=base.max_length)
    except BadData as error:
        raise FileUnusable(str(error), param="training_file") from error
    return work


def forecast_work(job: Job, work: Workload, *, price: int) -> Forecast:
    """What the job's settings make of a workload, which may have been counted for another method."""
    base, work, knobs = base_by_name(job.base), replace(work, method=job.method), job.hyperparameters
    config = _config(job, base.name)
    plan = plan_for(config, train_rows=work.rows["train"], hidden=base.hidden)
    planned = estimate(work, epochs=knobs["n_epochs"], patience=config.patience, device=device(), cores=cores())
    low, high = planned.price(price)
    least = work.tokens["train"]
    multiplier = knobs["learning_rate_multiplier"]
    faster = 1 + EACH_MORE * (job.width - 1)
    return Forecast(
        tokens_low=planned.tokens_low,
        tokens_high=planned.tokens_high,
        tokens_least=least,
        seconds_low=int(planned.seconds_low / faster),
        seconds_high=int(planned.seconds_high / faster),
        nano_low=low,
        nano_high=high,
        nano_least=min(high, -(-least * price // 10**6)),
        epochs=planned.epochs,
        steps_per_epoch=max(
            math.ceil(work.rows["train"] / plan.batch_size), math.ceil(work.tokens["train"] / config.token_budget)
        ),
        rows=sum(work.rows.values()),
        labels=work.labels,
        max_length=work.max_length,
        cut_rows=work.cut_rows,
        learning_rate="auto" if multiplier == "auto" else plan.learning_rate * multiplier,
    )


def _config(job: Job, base_name: str) -> Config:
    knobs = job.hyperparameters
    try:
        return Config(
            task=job.task,
            data="-",
            base="-",
            base_name=base_name,
            method=job.method,
            output="-",
            seed=job.seed,
            epochs=knobs["n_epochs"],
            batch_size=knobs["batch_size"],
        )
    except BadData as error:
        raise BadRequest(str(error), param="hyperparameters") from error


@functools.cache
def device() -> str:
    """The kind of device trainers of this installation have, in the words of the lab's table."""
    if settings.TRAINING_DEVICE == "cuda" or (settings.TRAINING_DEVICE == "auto" and Path("/dev/nvidiactl").exists()):
        return "cuda-bf16"
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        flags = ""
    return "cpu-bf16" if "avx512_bf16" in flags or "amx_bf16" in flags else "cpu-fp32"


def cores() -> int:
    """Cores a trainer may use on this machine."""
    return settings.TRAINING_THREADS or os.cpu_count() or 1
