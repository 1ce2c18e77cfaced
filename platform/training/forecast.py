"""What a run will cost in tokens, time and money, from the lab's own arithmetic. Loads a tokenizer, never torch."""

import functools
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from kit import storage
from kit.errors import BadRequest
from registry.selectors import base_by_name
from training.errors import FileUnusable
from training.lab.config import Config
from training.lab.errors import BadData
from training.lab.estimate import estimate, measure
from training.lab.plan import plan_for
from training.models import Job

CEILING_MARGIN = 0.97
"""Share of the ceiling that steps may use: a step's tokens vary around their mean."""


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


def forecast(job: Job, parquet_key: str, *, price: int) -> Forecast:
    """Count a dataset version against the job's base. `price` is nano-USD per million trained tokens."""
    base = base_by_name(job.base)
    knobs = job.hyperparameters
    try:
        with storage.local_path(parquet_key) as data:
            work = measure(data, base.folder, method=job.method)
        config = _config(job, base.name, learning_rate="auto")
        plan = plan_for(config, train_rows=work.rows["train"])
        planned = estimate(work, epochs=knobs["n_epochs"], patience=config.patience, device=device(), cores=cores())
    except BadData as error:
        raise FileUnusable(str(error), param="training_file") from error
    low, high = planned.price(price)
    least = work.tokens["train"]
    multiplier = knobs["learning_rate_multiplier"]
    return Forecast(
        tokens_low=planned.tokens_low,
        tokens_high=planned.tokens_high,
        tokens_least=least,
        seconds_low=planned.seconds_low,
        seconds_high=planned.seconds_high,
        nano_low=low,
        nano_high=high,
        nano_least=min(high, -(-least * price // 10**6)),
        epochs=planned.epochs,
        steps_per_epoch=math.ceil(work.rows["train"] / plan.batch_size),
        max_length=work.max_length,
        cut_rows=work.cut_rows,
        learning_rate="auto" if multiplier == "auto" else plan.learning_rate * multiplier,
    )


def _config(job: Job, base_name: str, *, learning_rate: float | str) -> Config:
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
            learning_rate=learning_rate,  # type: ignore[arg-type]
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
