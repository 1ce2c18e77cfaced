"""What a run is told: one dataclass, read from JSON, checked by itself, saved beside the outputs.

"auto" stays "auto" here; `plan.py` turns it into numbers once the data is known. Unknown fields are refused, so
that a misspelt knob never silently trains something else.
"""

from __future__ import annotations

import json
import math
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from inference.tasks import TEXT_GENERATION
from training.lab.errors import BadData

Method = Literal["full", "lora", "head"]
Auto = Literal["auto"]

CLASSIFICATION = "text-classification"
TASKS = {CLASSIFICATION: "text_classification", TEXT_GENERATION: "text_generation"}  # the recipe's module
METHODS: tuple[str, ...] = get_args(Method)
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "bf16", "fp32")
SCHEDULES = ("linear", "cosine")
CLASS_WEIGHTS = ("none", "balanced")
FOR_CLASSIFICATION: dict[str, Any] = {"label_smoothing": 0.0, "class_weights": "none"}
"""Fields that only a classifier has, and what they are elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One run of a recipe. Paths are absolute or relative to the working directory."""

    task: str  # the task family; text-classification or text-generation
    data: str  # Parquet file of a dataset version: row_id, what the task's rows hold, split
    base: str  # folder with config.json, model.safetensors and tokenizer.json
    base_name: str  # the base's name in the catalogue, written into the artefact
    method: str  # full: every weight; lora: adapters and head; head: the head on cached embeddings
    output: str  # folder for artefact, checkpoints, metrics and report
    resume: str | None = None  # a checkpoint folder, or the folder that holds several
    seed: int = 17
    epochs: int | Auto = "auto"
    batch_size: int | Auto = "auto"  # rows per step, at most
    learning_rate: float | Auto = "auto"
    max_length: int | Auto = "auto"  # tokens per row with its special ones; longer is cut and counted
    label_smoothing: float = 0.05
    patience: int = 3  # evaluations without a better score before stopping; 0 never stops early
    checkpoint_seconds: float = 120.0
    max_steps: int | None = None  # a hard ceiling over all epochs
    raised_steps: int | None = None  # in its place since more was paid for; a run may go on under another one
    threads: int | Auto = "auto"  # physical cores; more only slows small models down
    device: str = "auto"
    precision: str = "auto"
    weight_decay: float = 0.01
    warmup: float = 0.06  # share of the steps
    schedule: str = "linear"
    class_weights: str = "none"
    lora_rank: int = 8
    lora_alpha: float = 16.0
    gpus: int = 1  # devices of this machine, or processes where it has none, that share each batch
    token_budget: int = 8192  # tokens per step with padding, at most: bounds memory when texts are long
    bootstrap: int = 1000  # resamples behind each interval

    def __post_init__(self) -> None:
        for check in (self._check_words, self._check_numbers, self._check_task):
            check()

    def _check_words(self) -> None:
        for name in ("task", "data", "base", "base_name", "method", "output"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise BadData(f"Config field '{name}' must be a non-empty string.")
        if self.resume is not None and not isinstance(self.resume, str):
            raise BadData("Config field 'resume' must be a checkpoint folder or null.")
        choices = {"task": TASKS, "method": METHODS, "device": DEVICES, "precision": PRECISIONS}
        choices |= {"schedule": SCHEDULES, "class_weights": CLASS_WEIGHTS}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise BadData(f"Config field '{name}' is {getattr(self, name)!r}; it must be one of {list(allowed)}.")

    def _check_numbers(self) -> None:
        _whole("seed", self.seed, 0, 2**63 - 1)
        _whole("epochs", self.epochs, 1, 1000, auto=True)
        _whole("batch_size", self.batch_size, 1, 4096, auto=True)
        _whole("max_length", self.max_length, 8, 8192, auto=True)
        _whole("threads", self.threads, 1, 1024, auto=True)
        _whole("patience", self.patience, 0, 1000)
        for name in ("max_steps", "raised_steps"):
            if (steps := getattr(self, name)) is not None:
                _whole(name, steps, 1, 10**9)
        _whole("lora_rank", self.lora_rank, 1, 256)
        _whole("gpus", self.gpus, 1, 64)
        if self.gpus > 1 and self.method == "head":
            raise BadData("Config field 'gpus' is for the methods 'full' and 'lora'; a head trains in moments on one.")
        _whole("token_budget", self.token_budget, 64, 2**24)
        _whole("bootstrap", self.bootstrap, 100, 20_000)
        _real("learning_rate", self.learning_rate, 0.0, 1e6, auto=True, low_open=True)
        _real("label_smoothing", self.label_smoothing, 0.0, 0.5)
        _real("checkpoint_seconds", self.checkpoint_seconds, 0.0, 86_400.0)
        _real("weight_decay", self.weight_decay, 0.0, 10.0)
        _real("warmup", self.warmup, 0.0, 0.5)
        _real("lora_alpha", self.lora_alpha, 0.0, 4096.0, low_open=True)

    def _check_task(self) -> None:
        if self.task != TEXT_GENERATION:
            return
        if self.method != "lora":
            raise BadData(f"Config field 'method' is {self.method!r}; text-generation trains with 'lora'.")
        if self.gpus > 1:
            raise BadData("Config field 'gpus' is for text-classification; text-generation trains on one device.")

    def to_json(self) -> dict[str, Any]:
        """The fields as they were given."""
        return asdict(self)


def read_config(path: str | Path) -> Config:
    """Read and check a config file. Raises BadData naming the field and the allowed values."""
    try:
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise BadData(f"The config file cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise BadData(f"The config file is not valid JSON: {error}.") from error
    return config_from(raw)


def config_from(raw: object) -> Config:
    """A Config from a decoded JSON object; unknown and missing fields are named."""
    if not isinstance(raw, dict):
        raise BadData("The config must be one JSON object.")
    known = {field.name for field in fields(Config)}
    if unknown := sorted(set(raw) - known):
        raise BadData(f"Unknown config field(s): {', '.join(map(str, unknown))}.")
    required = {field.name for field in fields(Config) if field.default is MISSING}
    if missing := sorted(required - set(raw)):
        raise BadData(f"Missing config field(s): {', '.join(missing)}.")
    if raw["task"] != TEXT_GENERATION:
        return Config(**raw)
    if given := sorted(set(raw) & set(FOR_CLASSIFICATION)):
        raise BadData(f"Config field(s) {', '.join(given)} are for text-classification. Leave them out.")
    return Config(**FOR_CLASSIFICATION, **raw)


def _whole(name: str, value: object, low: int, high: int, *, auto: bool = False) -> None:
    if auto and value == "auto":
        return
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        choice = '"auto" or ' if auto else ""
        raise BadData(f"Config field '{name}' is {value!r}; it must be {choice}a whole number from {low} to {high}.")


def _real(name: str, value: object, low: float, high: float, *, auto: bool = False, low_open: bool = False) -> None:
    if auto and value == "auto":
        return
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not good or not low <= value <= high or (low_open and value == low):  # type: ignore[operator]
        choice = '"auto" or ' if auto else ""
        bound = f"above {low:g}" if low_open else f"from {low:g}"
        raise BadData(f"Config field '{name}' is {value!r}; it must be {choice}a number {bound} up to {high:g}.")
