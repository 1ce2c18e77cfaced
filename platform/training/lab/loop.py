"""The training loop: steps, evaluations, checkpoints, early stopping, and an exact way back in.

A run that was killed and resumed ends, in fp32 on a CPU, with the weights of a run that was not: the order of the
rows depends on (seed, epoch) alone, and weights, moments, counters and random state come from the checkpoint.
The running figures in `step` events are not part of that promise.

The loop does not compute the gradients: it pauses at each step and says which rows it wants them of. Who drives it
computes them, for this run alone (`alone`) or for several over one base at once (`group.py`).
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from evaluation import metrics
from training.lab import checkpoint
from training.lab.calibration import log_loss
from training.lab.config import Config
from training.lab.data import Rows
from training.lab.device import Place
from training.lab.errors import Stopped
from training.lab.events import Emitter, finite
from training.lab.learners import Check, Learner, Trainee
from training.lab.optimise import Guard, Optimiser
from training.lab.plan import Plan
from training.lab.randomness import random_state, set_random_state

_EVENT_STEPS = 10

T = TypeVar("T")


class Stop(Protocol):
    """A request to stop, raised from outside."""

    @property
    def requested(self) -> bool:
        """Whether somebody asked."""
        ...


@dataclass(slots=True)
class Progress:
    """Where the run stands; JSON in a checkpoint. `batch` is the next one of `epoch`."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    rows: int = 0
    best_score: list[float] = field(default_factory=list)  # as the aim has it; higher is better
    best_epoch: int = 0
    stale: int = 0
    finished: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an evaluation found: the figures of its event, and the score that says which is best, in order of weight."""

    figures: dict[str, float]
    score: list[float]


class Aim(Protocol):
    """What a run is to learn. `classes` are the answers that a guess would be made among."""

    @property
    def classes(self) -> int: ...

    @property
    def weights(self) -> Tensor | None:
        """Per class [C], or None."""
        ...

    def of(self, rows: Rows) -> Tensor:
        """The right answers for what `logits` gives of these training rows."""
        ...

    def judge(self, learner: Any, check: Check) -> Judgement:
        """Measure the learner (of the kind that this aim is for) on the validation rows."""
        ...


@dataclass(frozen=True, slots=True)
class Targets:
    """Labels of the two splits the loop looks at, and weights per class [C] or None: the aim of a classifier."""

    train: Rows
    validation: Rows
    classes: int
    weights: Tensor | None

    def of(self, rows: Rows) -> Tensor:
        """See `Aim`."""
        return torch.from_numpy(self.train[rows])

    def judge(self, learner: Learner, check: Check) -> Judgement:
        """Macro-F1 first, then the loss."""
        logits, truth = learner.read("validation", check), self.validation
        predicted, known = logits.argmax(axis=1).astype(np.int64), truth >= 0
        loss = log_loss(logits[known], truth[known])
        score = metrics.macro_f1(truth, predicted, self.classes)
        accuracy = metrics.accuracy(truth, predicted)
        figures = {"loss": round(loss, 6), "accuracy": round(accuracy, 6), "macro_f1": round(score, 6)}
        return Judgement(figures, [score, -loss])


@dataclass(slots=True)
class Step:
    """A pause of the loop: it goes on once the gradients of `loss(learner.logits(rows))` are there.

    `seconds` is what they took; whoever computes them says so.
    """

    learner: Trainee
    rows: Rows
    targets: Tensor  # [B], or [M] where each row has several answers
    weights: Tensor | None  # per class [C]
    label_smoothing: float
    guard: Guard
    number: int  # of the step, from 0
    value: float | None = None  # of the loss; a step that has to be computed again is judged once
    seconds: float = 0.0

    def mean_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits [N, C] and targets [N] of any of its rows -> their mean loss []."""
        return nn.functional.cross_entropy(
            logits.float(), targets, weight=self.weights, label_smoothing=self.label_smoothing
        )

    def loss(self, logits: Tensor) -> Tensor:
        """Logits [B, C] -> the loss to take the gradient of. Raises Diverged for one that leads nowhere."""
        loss = self.mean_loss(logits, self.targets)
        if self.value is None:
            self.value = loss.item()
            self.guard.check(self.value, self.number)
        return loss

    def compute(self) -> None:
        """The gradients, for this run alone."""
        started = time.perf_counter()
        self.loss(self.learner.logits(self.rows)).backward()
        self.seconds = time.perf_counter() - started


def alone(turns: Generator[Step, None, T]) -> T:
    """Drive one run to its end; what it returns."""
    try:
        while True:
            next(turns).compute()
    except StopIteration as end:
        result: T = end.value
        return result


class Loop:
    """One training run over a learner."""

    def __init__(
        self,
        learner: Trainee,
        aim: Aim,
        config: Config,
        plan: Plan,
        *,
        spec: str,
        emit: Emitter,
        stop: Stop,
        writes: bool = True,
    ) -> None:
        self._learner, self._aim, self._config, self._plan = learner, aim, config, plan
        self._spec, self._emit, self._stop = spec, emit, stop
        self._writes = writes  # of several processes with the same state, one does
        self._root = Path(config.output) / "checkpoints"
        self._steps_per_epoch = len(learner.batches(0))
        self.total_steps = min(config.raised_steps or config.max_steps or 2**62, plan.epochs * self._steps_per_epoch)
        self._optimiser = Optimiser(
            learner.parameters,
            learning_rate=plan.learning_rate,
            weight_decay=config.weight_decay,
            total_steps=self.total_steps,
            warmup=config.warmup,
            schedule=config.schedule,
            head_factor=plan.head_factor,
        )
        self._guard = Guard(aim.classes)
        self._device = next(iter(learner.parameters.values())).device
        self._best: dict[str, Tensor] = {}
        self._window: list[float] = []
        self.progress = Progress()
        self.history: list[dict[str, Any]] = []

    def record(self, place: Place, started: float, **own: Any) -> dict[str, Any]:
        """How the model came about, for the report; `started` is monotonic, `own` is what only the task has."""
        config, plan, progress = self._config, self._plan, self.progress
        return {
            "seed": config.seed,
            "method": config.method,
            "base": config.base_name,
            "epochs_planned": plan.epochs,
            "epochs_run": progress.epoch,
            "best_epoch": progress.best_epoch,
            "steps": progress.step,
            "tokens": progress.tokens,
            "seconds": round(progress.seconds, 3),
            "wall_seconds": round(time.monotonic() - started, 3),
            "samples_per_second": round(progress.rows / max(progress.seconds, 1e-9), 2),
            "batch_size": plan.batch_size,
            "learning_rate": plan.learning_rate,
            "device": place.device.type,
            "precision": place.precision,
            "threads": place.threads,
        } | own

    def turns(self) -> Generator[Step, None, None]:
        """Train to the end with a pause for each step, or raise Stopped after a checkpoint.

        The best weights are in the learner afterwards.
        """
        saved = time.monotonic()
        while not self.progress.finished:
            batches = self._learner.batches(self.progress.epoch)
            while self.progress.batch < len(batches) and self.progress.step < self.total_steps:
                self.obey_stop()
                if time.monotonic() - saved >= self._config.checkpoint_seconds and self.progress.step:
                    self.save()
                    saved = time.monotonic()
                yield from self._step(batches[self.progress.batch])
            self._evaluate()
        self._use_best()

    def obey_stop(self) -> None:
        """Raise Stopped, after a checkpoint, if a stop was asked for."""
        if self._stop.requested or self._emit.broken:
            self.save()
            raise Stopped("Stopped on request; the checkpoint holds everything up to here.")

    def save(self) -> None:
        """Write a checkpoint of this moment and say so."""
        if not self._writes:
            return
        tensors: dict[str, dict[str, Tensor]] = {
            "weights": {name: p.detach() for name, p in self._learner.parameters.items()},
            "optimiser": self._optimiser.state(),
            "random": random_state(self._device),
        }
        if self._best:
            tensors["best"] = self._best
        point = checkpoint.Checkpoint(self.progress.step, asdict(self.progress), self.history, tensors)
        folder, digest = checkpoint.write(self._root, point, spec=self._spec)
        self._emit("checkpoint", step=point.step, path=str(folder), manifest_sha256=digest)

    def resume_from(self, folder: Path) -> None:
        """Continue from the newest good checkpoint there, or start again where none is left; both are told."""
        found = checkpoint.find(folder, spec=self._spec)
        for damage in found.damaged:
            self._emit("warning", code="checkpoint_damaged", message=f"Passed over a damaged checkpoint: {damage}")
        if found.checkpoint is None:
            self._emit("warning", code="restarted", message="No good checkpoint is left; training starts again.")
        else:
            self.resume(found.checkpoint)

    def resume(self, point: checkpoint.Checkpoint) -> None:
        """Continue from a checkpoint."""
        _copy_into(self._learner.parameters, point.tensors["weights"])
        self._optimiser.load(point.tensors.get("optimiser", {}))
        self._best = point.tensors.get("best", {})
        self.progress = Progress(**point.state)
        self.history = list(point.history)
        set_random_state(point.tensors["random"], self._device)

    def _step(self, rows: Rows) -> Generator[Step, None, None]:
        """One batch: ask for its gradients, update, tell."""
        progress = self.progress
        step = Step(
            self._learner,
            rows,
            self._aim.of(rows).to(self._device),
            self._aim.weights,
            self._config.label_smoothing,
            self._guard,
            progress.step,
        )
        yield step
        started = time.perf_counter()
        norm = self._optimiser.update(progress.step)
        rate = self._optimiser.rate(progress.step)
        self._window.append(step.value or 0.0)
        progress.seconds += step.seconds + time.perf_counter() - started
        progress.step += 1
        progress.batch += 1
        progress.rows += len(rows)
        progress.tokens += self._learner.tokens(rows, progress.epoch)
        if progress.step % _EVENT_STEPS == 0 or progress.step in (1, self.total_steps):
            self._tell_step(rate, norm)

    def _tell_step(self, rate: float, norm: float) -> None:
        progress = self.progress
        self._note(
            "step",
            step=progress.step,
            total_steps=self.total_steps,
            epoch=round(progress.step / self._steps_per_epoch, 4),
            loss=round(float(np.mean(self._window)), 6),
            learning_rate=rate,
            grad_norm=round(norm, 6),
            tokens=progress.tokens,
            samples_per_second=round(progress.rows / max(progress.seconds, 1e-9), 2),
        )
        self._window.clear()

    def _evaluate(self) -> None:
        """Close the epoch: measure on validation, keep the best weights, decide whether to go on."""
        progress = self.progress
        found = self._aim.judge(self._learner, self.obey_stop)
        progress.epoch += 1
        progress.batch = 0
        self._note("evaluation", step=progress.step, epoch=progress.epoch, **found.figures)
        if found.score > progress.best_score:
            better = not progress.best_score or found.score[0] > progress.best_score[0]
            progress.best_score, progress.best_epoch = found.score, progress.epoch
            progress.stale = 0 if better else progress.stale + 1
            self._best = {name: p.detach().clone() for name, p in self._learner.parameters.items()}
        else:
            progress.stale += 1
        patient = self._plan.patience == 0 or progress.stale < self._plan.patience
        progress.finished = not (patient and progress.epoch < self._plan.epochs and progress.step < self.total_steps)

    def _use_best(self) -> None:
        if self._best:
            _copy_into(self._learner.parameters, self._best)

    def _note(self, event: str, **fields: Any) -> None:
        """Say it, and keep it for metrics.jsonl."""
        self.history.append({"event": event, **finite(fields)})
        self._emit(event, **fields)


def balanced_weights(targets: Rows, classes: int) -> Tensor:
    """Weights [C] that give rare labels more say: inverse frequency, at most tenfold."""
    counts = np.maximum(np.bincount(targets, minlength=classes), 1)
    return torch.from_numpy(np.clip(len(targets) / (classes * counts), 0.1, 10.0).astype(np.float32))


def _copy_into(parameters: dict[str, nn.Parameter], tensors: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])
