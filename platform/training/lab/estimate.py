"""How long, how many tokens, how much: arithmetic before the run. No torch, no Django.

Work is counted in FLOP: per token and matrix weight 6 for full tuning (forward 2, backward 4), 4 for LoRA (no
weight gradients in the frozen base), 2 for reading; the head is read once and its own passes are nearly free.
Divided by the measured FLOP/s of the device kind that gives seconds. The low end is a run that stops as early as
its patience allows on a quiet machine; the high end is every pass on a busy one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inference.chat import read_voice
from inference.neighbours import MAX_ROWS
from inference.tasks import TEXT_GENERATION
from training.lab.config import CLASSIFICATION, Auto
from training.lab.data import SPLITS, Dataset, auto_max_length, encode, read_dataset, read_tokenizer
from training.lab.dialogues import CHAT, LONGEST, SHAPES, encode_dialogues, read_dialogues
from training.lab.errors import BadData
from training.lab.plan import auto_epochs
from training.lab.shape import as_bad_data, read_shape

SAMPLE_ROWS = 20_000  # rows tokenised per split for an estimate; more are scaled up
SAMPLE_DIALOGUES = 4_000  # the same of conversations, each of which is written by a template first
_HEAD_ROW_SECONDS = 1.2e-5  # one training row through the head, both directions
_FLOOR_ROW_SECONDS = 1.5e-4  # the TF-IDF floor, per training row and doubling of the labels
_CHECKPOINT_SECONDS = 1.0
_SLACK = 1.6  # busy neighbours, longer rows than the mean
PAYS_UP_TO_TOKENS = {"cpu": 256, "cuda": 4096}  # of a step with its padding, on average over the runs; see `pays`


@dataclass(frozen=True, slots=True)
class Throughput:
    """What a device kind sustains: FLOP/s per core (or per device) when training and when reading."""

    full: float
    lora: float
    reading: float
    start_seconds: float
    measured: bool

    def of(self, method: str) -> float:
        """FLOP/s of a method's training steps."""
        return self.lora if method == "lora" else self.full


# The cpu rows: all-MiniLM-L6-v2 on two AMD EPYC cores with avx512_bf16, `python benchmarks/training.py --table`.
# The cuda row: full tuning of the same base on an NVIDIA H200, on the short rows of CLINC150 (`benchmarks/clinc150.py`:
# 662,268 tokens in 40 s), where a step is launched rather than computed; LoRA and reading are allowances beside it. It
# is a floor: longer rows and wider bases reach many times as much (`benchmarks/mfu.py`). History replaces it.
DEVICES: dict[str, Throughput] = {
    "cpu-bf16": Throughput(full=6.2e10, lora=4.7e10, reading=5.3e10, start_seconds=6.0, measured=True),
    "cpu-fp32": Throughput(full=4.0e10, lora=3.5e10, reading=3.3e10, start_seconds=6.0, measured=True),
    "cuda-bf16": Throughput(full=1e12, lora=4e11, reading=1e12, start_seconds=10.0, measured=False),
}


@dataclass(frozen=True, slots=True)
class Workload:
    """What a run would read: rows and tokens (after cutting) per split, the labels, and the base's matrix weights."""

    method: str
    rows: dict[str, int]
    tokens: dict[str, int]
    labels: int
    matrix_parameters: int
    max_length: int
    cut_rows: int = 0
    task: str = CLASSIFICATION
    margin: float = 0.0
    """The share by which the tokens may be off; nothing where they were counted."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Ranges from an early stop on a quiet machine to every pass on a busy one. Tokens are those trained on."""

    epochs: int
    tokens_low: int
    tokens_high: int
    seconds_low: int
    seconds_high: int
    flop: float
    measured: bool

    def price(self, nano_per_million_tokens: int) -> tuple[int, int]:
        """(low, high) in nano, rounded up."""
        low, high = (-(-count * nano_per_million_tokens // 10**6) for count in (self.tokens_low, self.tokens_high))
        return low, high


def estimate(
    work: Workload, *, epochs: int | Auto = "auto", patience: int = 3, device: str = "cpu-bf16", cores: int = 2
) -> Estimate:
    """Estimate a run on a device kind of `DEVICES`; `cores` multiplies the cpu kinds only."""
    speed = DEVICES[device]
    lanes = cores if device.startswith("cpu") else 1
    passes = auto_epochs(work.method, work.rows["train"], work.task) if epochs == "auto" else epochs
    fewest = min(passes, 1 + patience) if patience else passes
    paid = (1, 1) if work.method == "head" else (fewest, passes)  # a head's encoder reads each row once
    low = _seconds(work, fewest, speed, lanes)
    high = _seconds(work, passes, speed, lanes) * _SLACK * (1 + work.margin)
    return Estimate(
        epochs=passes,
        tokens_low=math.floor(work.tokens["train"] * max(0.0, 1 - work.margin)) * paid[0],
        tokens_high=math.ceil(work.tokens["train"] * (1 + work.margin)) * paid[1],
        seconds_low=max(1, math.floor(low)),
        seconds_high=math.ceil(high),
        flop=_flop(work, passes),
        measured=speed.measured,
    )


def measure(
    data: str | Path, base: str | Path, *, method: str, max_length: int | Auto = "auto", task: str = CLASSIFICATION
) -> Workload:
    """Count a dataset version against a base; large splits are sampled evenly. Raises BadData like the run would."""
    if task == TEXT_GENERATION:
        return _measure_dialogues(data, base, method, max_length)
    dataset, shape, tokenizer = read_dataset(data), read_shape(base), read_tokenizer(base)
    lengths = {name: _lengths(dataset, name, tokenizer) for name in SPLITS}
    limit = auto_max_length(lengths["train"], shape.positions) if max_length == "auto" else max_length
    rows = {name: len(getattr(dataset, name)) for name in SPLITS}
    scale = {name: rows[name] / len(lengths[name]) for name in SPLITS}
    return Workload(
        method=method,
        rows=rows,
        tokens={name: round(float(np.minimum(part, limit).sum()) * scale[name]) for name, part in lengths.items()},
        labels=len(dataset.labels),
        matrix_parameters=shape.matrix_parameters,
        max_length=limit,
        cut_rows=round(sum(float((part > limit).sum()) * scale[name] for name, part in lengths.items())),
    )


def _measure_dialogues(data: str | Path, base: str | Path, method: str, max_length: int | Auto) -> Workload:
    dialogues, shape, tokenizer = read_dialogues(data), read_shape(base), read_tokenizer(base)
    limit = min(shape.positions, LONGEST) if max_length == "auto" else max_length
    with as_bad_data():
        voice = read_voice(Path(base))
    tokens: dict[str, int] = {}
    cut = 0.0
    for name in SPLITS:
        rows = dialogues.rows[name]
        step = max(1, -(-len(rows) // SAMPLE_DIALOGUES))
        some, ids = rows[::step], dialogues.row_ids[name][::step]
        found = encode_dialogues(
            tokenizer, voice, some, row_ids=ids, chat=dialogues.chat, limit=limit, check=lambda: None
        )
        scale = len(rows) / len(some)
        tokens[name] = round(len(found.flat) * scale)
        cut += found.cut * scale
    if not tokens["train"]:
        raise BadData("No row of the training split has a reply to learn from within the model's context.")
    return Workload(
        method=method,
        rows={name: dialogues.count(name) for name in SPLITS},
        tokens=tokens,
        labels=0,
        matrix_parameters=shape.matrix_parameters,
        max_length=limit,
        cut_rows=round(cut),
        task=TEXT_GENERATION,
    )


def pays(tokens: Sequence[int], device: str) -> bool:
    """Whether steps of runs over one base, with so many tokens each, are made faster in one pass than one by one.
    `device` is its kind, "cpu" or "cuda", or a name of `DEVICES`.

    Read off `benchmarks/shared_base.py`. Two cores, fp32: 1.1 to 3 times faster below a hundred tokens a run, 1.0 to
    1.2 times up to 256, and nothing but memory for everybody's activations beyond. A product over few rows waits for
    the base's weights and not for arithmetic; that is what several runs can share. An H200, bf16: 1.1 to 1.5 times up
    to 4096, the most that was tried; there it is the kernels' launches that are shared.
    """
    limit = PAYS_UP_TO_TOKENS[device.partition("-")[0]]
    return len(tokens) > 1 and sum(tokens) <= limit * len(tokens)


def lengths_of(rows: Sequence[tuple[str | None, ...]], base: str | Path, *, kind: str, limit: int) -> np.ndarray:
    """Tokens of each row, cut to `limit`; `rows` are as a version of this kind (`SHAPES`, or labelled text) holds them.
    Raises BadData."""
    tokenizer = read_tokenizer(base)
    if kind not in SHAPES:
        return np.minimum(encode(tokenizer, [row[0] or "" for row in rows], lambda: None).lengths, limit)
    with as_bad_data():
        voice = read_voice(Path(base))
    found = np.zeros(len(rows), dtype=np.int64)
    pairs = [(row[0] or "", row[1]) for row in rows]
    ids, chat = range(1, len(rows) + 1), SHAPES[kind] is CHAT
    marked = encode_dialogues(tokenizer, voice, pairs, row_ids=ids, chat=chat, limit=limit, check=lambda: None)
    found[marked.kept] = marked.lengths
    return found


def _lengths(dataset: Dataset, split: str, tokenizer: object) -> np.ndarray:
    texts = getattr(dataset, split).texts
    step = max(1, -(-len(texts) // SAMPLE_ROWS))
    return encode(tokenizer, texts[::step], lambda: None).lengths  # type: ignore[arg-type]


def _flop(work: Workload, epochs: int) -> float:
    """Arithmetic of the training steps alone."""
    factor = {"full": 6, "lora": 4, "head": 0}[work.method]
    return float(factor * work.matrix_parameters * work.tokens["train"] * epochs)


def _seconds(work: Workload, epochs: int, speed: Throughput, lanes: int) -> float:
    """Start, floor, training, an evaluation per pass, and the last measurement."""
    reading = 2.0 * work.matrix_parameters / (speed.reading * lanes)
    if work.task == TEXT_GENERATION:
        floor = reading * work.tokens["test"]  # the untouched base on the same rows
    else:
        floor = _FLOOR_ROW_SECONDS * min(work.rows["train"], 40_000) * max(1.0, math.log2(work.labels))
    fixed = speed.start_seconds + floor + _CHECKPOINT_SECONDS
    if work.method == "head":
        return fixed + reading * sum(work.tokens.values()) + _HEAD_ROW_SECONDS * work.rows["train"] * epochs
    training = _flop(work, epochs) / (speed.of(work.method) * lanes)
    validation = reading * work.tokens["validation"] * (epochs + 1)
    return fixed + training + validation + reading * (work.tokens["test"] + _kept_tokens(work))


def _kept_tokens(work: Workload) -> float:
    """Training tokens that are read once more at the end, for the vectors of the rows that an artefact keeps. A head's
    encoder has read them already, and a model that writes keeps none."""
    if work.task != CLASSIFICATION:
        return 0.0
    return work.tokens["train"] * min(1.0, MAX_ROWS / max(1, work.rows["train"]))
