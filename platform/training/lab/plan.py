"""What "auto" means: the numbers of a run, from the config, the method and the size of the data. No torch.

The defaults were measured with all-MiniLM-L6-v2 (`benchmarks/clinc150.py` and the lab's tests):
- full: 2e-4 is the highest rate that is still calm; the head takes ten times that, since it starts from nothing
  (two passes over 7,500 rows of CLINC150: 0.957 on the test rows with it, 0.941 without).
- passes: four over 15,000 rows, six over 1,500, more below; the rate falls to zero over them.
  That is for 384 numbers per token. Wider encoders take less, by the square of the width: 5e-5 at 768 and 3e-5 at 1024,
  the customary rates for such models; not measured here.
- lora: adapters start at zero and take about ten times the rate of full tuning.
- head: a linear layer on cached embeddings costs almost nothing, so it gets many passes and a large batch; rates from
  1e-3 to 1e-2 end within noise of each other.
- text-generation: adapters on a decoder take 2e-4 at the width of a large model and more below it, three passes over
  1,500 rows and at most ten over few (the customary figures; the tests' decoder of 64 numbers per token agrees).
Early stopping ends a run that has nothing left to learn; the numbers here are ceilings.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from inference.tasks import TEXT_GENERATION
from training.lab.config import CLASSIFICATION, Config

_LEARNING_RATE = {"full": 2e-4, "lora": 2e-3, "head": 3e-3}
_REFERENCE_WIDTH = 384
_HEAD_FACTOR = {"full": 10.0, "lora": 1.0, "head": 1.0}
_BATCH_SIZE = {"full": 32, "lora": 32, "head": 256}
_EPOCHS = {"full": 6.0, "lora": 8.0, "head": 60.0}  # over _REFERENCE_ROWS
_REFERENCE_ROWS = 1500
_EPOCH_BOUNDS = {"full": (3, 20), "lora": (3, 25), "head": (30, 100)}
_WRITING_RATE, _MOST_WRITING_RATE, _WRITING_WIDTH = 2e-4, 5e-3, 2048
_WRITING_EPOCHS, _WRITING_BOUNDS, _WRITING_BATCH = 3.0, (2, 10), 16


@dataclass(frozen=True, slots=True)
class Plan:
    """The resolved numbers of a run; saved beside the config."""

    epochs: int
    batch_size: int
    learning_rate: float
    patience: int
    head_factor: float  # the head's rate over the encoder's

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def plan_for(config: Config, *, train_rows: int, hidden: int = _REFERENCE_WIDTH) -> Plan:
    """Resolve "auto" for this many training rows and a base with this many numbers per token."""
    task, method = config.task, config.method
    batch = _auto_batch(method, train_rows, task) if config.batch_size == "auto" else config.batch_size
    epochs = auto_epochs(method, train_rows, task) if config.epochs == "auto" else config.epochs
    rate = _auto_rate(method, hidden, task) if config.learning_rate == "auto" else float(config.learning_rate)
    # The head's passes are so short that three of them say little.
    patience = config.patience * 4 if config.method == "head" else config.patience
    return Plan(
        epochs=epochs,
        batch_size=batch,
        learning_rate=rate,
        patience=patience,
        head_factor=_HEAD_FACTOR[config.method],
    )


def auto_epochs(method: str, train_rows: int, task: str = CLASSIFICATION) -> int:
    """Passes over the data: fewer the more rows there are, within the method's bounds."""
    writes = task == TEXT_GENERATION
    low, high = _WRITING_BOUNDS if writes else _EPOCH_BOUNDS[method]
    wanted = (_WRITING_EPOCHS if writes else _EPOCHS[method]) * (_REFERENCE_ROWS / max(1, train_rows)) ** 0.3
    return min(high, max(low, math.ceil(wanted)))


def _auto_rate(method: str, hidden: int, task: str) -> float:
    """The method's rate; when every weight moves, lower for encoders wider than the one it was measured with."""
    if task == TEXT_GENERATION:
        return min(_MOST_WRITING_RATE, _WRITING_RATE * max(1.0, _WRITING_WIDTH / hidden))
    wider = max(1.0, hidden / _REFERENCE_WIDTH) if method == "full" else 1.0
    return _LEARNING_RATE[method] / wider**2


def _auto_batch(method: str, train_rows: int, task: str) -> int:
    """The usual batch, smaller for tiny sets so that a pass still has at least eight steps."""
    least, most = (2, _WRITING_BATCH) if task == TEXT_GENERATION else (4, _BATCH_SIZE[method])
    return max(least, min(most, train_rows // 8))
