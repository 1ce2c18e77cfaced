"""Text classification: an encoder (or its cached embeddings), mean pooling, a linear head.

The recipe from the dataset version to the artefact, in the order in which it happens. It trains beside a TF-IDF
floor, keeps the weights of the best validation macro-F1, fits the temperature on validation, and touches the test
rows once, at the end, in fp32.

It does not promise: bit-equal results across different numbers of threads, devices or library versions.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation import report as reports
from evaluation.curves import Scored
from training.lab import artefact, checkpoint, neighbours
from training.lab.baseline import MAX_ROWS, NAME, Floor, fit_floor
from training.lab.calibration import fit_temperature, softmax
from training.lab.config import Config
from training.lab.crew import Crew, CrewLearner
from training.lab.data import (
    SPLITS,
    Dataset,
    Encoded,
    auto_max_length,
    encode,
    read_dataset,
    read_tokenizer,
    truncate,
)
from training.lab.device import Place, place_for
from training.lab.errors import BadData, Stopped
from training.lab.events import Emitter
from training.lab.learners import EncoderLearner, HeadLearner, Learner, Splits, embed
from training.lab.loop import Loop, Step, Stop, Targets, alone, balanced_weights
from training.lab.plan import Plan, plan_for
from training.lab.shape import read_shape


@dataclass(slots=True)
class Run:
    """What the phases hand on to each other."""

    config: Config
    emit: Emitter
    stop: Stop
    place: Place
    plan: Plan
    dataset: Dataset
    started: float
    crew: Crew | None = None
    max_length: int = 0
    cut: int = 0

    @property
    def leads(self) -> bool:
        """Whether this process is the run, or the first of several that are."""
        return self.crew is None or self.crew.leads

    def check(self) -> None:
        """Raise Stopped if a stop was asked for, before there is anything to save."""
        if self.stop.requested or self.emit.broken:
            raise Stopped("Stopped on request before the first training step.")


def run(config: Config, emit: Emitter, stop: Stop, crew: Crew | None = None) -> Path:
    """Train and write the artefact; returns its folder. Raises the family of `errors`."""
    work = turns(config, emit, stop, crew)
    return alone(work) if crew is None else crew.drive(work)


def turns(config: Config, emit: Emitter, stop: Stop, crew: Crew | None = None) -> Generator[Step, None, Path]:
    """The run with a pause for each step of its training, see `loop.py`; returns and raises as `run`."""
    folder = Path(config.output) / "artefact"
    started = time.monotonic()

    # 1. Read the rows, resolve what is "auto"
    emit.phase("loading")
    dataset = read_dataset(config.data)
    shape = read_shape(config.base)
    place, plan = place_for(config), plan_for(config, train_rows=len(dataset.train), hidden=shape.hidden)
    work = Run(config, emit, stop, place, plan, dataset, started, crew)

    # 2. Tokenise everything once
    work.check()
    emit.phase("tokenising", rows=sum(len(getattr(dataset, name)) for name in SPLITS))
    encoded = _tokenise(work)

    # 3. The floor
    work.check()
    emit.phase("baseline")
    texts = dataset.train.texts, dataset.train.targets, dataset.test.texts
    floor = fit_floor(*texts, seed=config.seed) if work.leads else None

    # 4. Train
    work.check()
    loop, learner = _prepare(work, encoded)
    emit.phase("training", step=loop.progress.step, total_steps=loop.total_steps, epochs=plan.epochs)
    yield from loop.turns()

    # 5. Measure the test rows, once, in fp32
    emit.phase("evaluating")
    validation = learner.read("validation", loop.obey_stop)
    temperature = fit_temperature(validation, dataset.validation.targets)
    probabilities = softmax(learner.read("test", loop.obey_stop, exact=True), temperature)
    if work.crew is not None:
        work.crew.leave()
    if floor is None:
        return folder
    chosen_on = Scored(dataset.validation.targets, softmax(validation, temperature))
    report = _report(work, loop, floor, probabilities, temperature, chosen_on)

    # 6. Write it down
    emit.phase("saving")
    look = loop.obey_stop if work.crew is None else _go_on
    kept = neighbours.chosen(len(dataset.train), shape.hidden, seed=config.seed)
    parts = artefact.Parts(
        labels=dataset.labels,
        max_length=work.max_length,
        temperature=temperature,
        head=learner.head(),
        encoder_files=learner.encoder_files(),
        lora_targets=learner.lora_targets(),
        texts=dataset.test.texts,
        probabilities=probabilities,
        report=report,
        history=loop.history,
        neighbours=neighbours.tensors(dataset.train, kept, learner.vectors(kept, look)),
    )
    artefact.write(folder, config, plan, parts)
    progress = loop.progress
    emit(
        "done",
        artefact=str(folder),
        report=str(folder / "report.json"),
        trained_tokens=progress.tokens,
        steps=progress.step,
    )
    return folder


def _go_on() -> None:
    """Nothing: who has left a crew cannot agree with it on a stop any more."""


def _report(
    work: Run, loop: Loop, floor: Floor, probabilities: NDArray[np.float64], temperature: float, validation: Scored
) -> dict[str, Any]:
    """The report on the test rows; `probabilities` is [N, C]. Thresholds are chosen on `validation`."""
    config, dataset = work.config, work.dataset
    test = dataset.test
    return reports.build(
        task=config.task,
        labels=dataset.labels,
        rows=reports.TestRows(test.row_ids, test.texts, test.names, test.targets, probabilities, floor.predicted),
        counts={name: len(getattr(dataset, name)) for name in SPLITS},
        temperature=temperature,
        baseline_name=NAME,
        training=_training_record(work, loop),
        limits=_limits(work, floor),
        resamples=config.bootstrap,
        seed=config.seed,
        validation=validation,
    )


def _tokenise(work: Run) -> Splits:
    """Token ids of the three splits, cut to the limit; the limit and the number of cut rows go into `work`."""
    config, dataset = work.config, work.dataset
    shape, tokenizer = read_shape(config.base), read_tokenizer(config.base)
    whole = {name: encode(tokenizer, getattr(dataset, name).texts, work.check) for name in SPLITS}
    if config.max_length == "auto":
        work.max_length = auto_max_length(whole["train"].lengths, shape.positions)
    elif config.max_length > shape.positions:
        raise BadData(f"Config field 'max_length' is {config.max_length}; the base reads {shape.positions} at most.")
    else:
        work.max_length = config.max_length
    encoded = {name: truncate(part, work.max_length) for name, part in whole.items()}
    work.cut = sum(part.cut for part in encoded.values())
    if max(int(part.flat.max()) for part in encoded.values()) >= shape.vocabulary:
        raise BadData("The base's tokenizer gives ids that its word table does not have.")
    return encoded


def _prepare(work: Run, encoded: dict[str, Encoded]) -> tuple[Loop, Learner]:
    """The learner for the method, in a loop, resumed where a checkpoint was given."""
    config, plan, dataset = work.config, work.plan, work.dataset
    classes = len(dataset.labels)
    learner: Learner
    if config.method == "head":
        features = embed(config, work.place, encoded, work.check)
        learner = HeadLearner(config, plan, features, encoded["train"].lengths, classes)
    elif work.crew is not None:
        learner = CrewLearner(work.crew, config, plan, work.place, encoded, classes)
    else:
        learner = EncoderLearner(config, plan, work.place, encoded, classes)
    weights = balanced_weights(dataset.train.targets, classes) if config.class_weights == "balanced" else None
    targets = Targets(
        train=dataset.train.targets,
        validation=dataset.validation.targets,
        classes=classes,
        weights=None if weights is None else weights.to(work.place.device),
    )
    spec = checkpoint.spec_of(config, plan, precision=work.place.precision)
    stop = work.stop if work.crew is None else work.crew.agreed(work.stop)
    loop = Loop(learner, targets, config, plan, spec=spec, emit=work.emit, stop=stop, writes=work.leads)
    if config.resume:
        loop.resume_from(Path(config.resume))
    return loop, learner


def _training_record(work: Run, loop: Loop) -> dict[str, Any]:
    """How the model came about, for the report."""
    return loop.record(
        work.place,
        work.started,
        label_smoothing=work.config.label_smoothing,
        max_length=work.max_length,
        processes=1 if work.crew is None else work.crew.size,
    )


def _limits(work: Run, floor: Floor) -> list[dict[str, str]]:
    """What a reader must know before trusting the figures; each {"code", "message"}."""
    dataset, limits = work.dataset, []
    if work.cut:
        message = f"{work.cut} text(s) were longer than {work.max_length} tokens; the model sees their beginning."
        limits.append({"code": "texts_cut", "message": message})
    if dataset.unseen:
        message = f"{dataset.unseen} validation or test row(s) carry a label that never occurs in training."
        limits.append({"code": "labels_unseen", "message": message + " In the test they count as mistakes."})
    if floor.rows < len(dataset.train):
        message = f"The baseline was trained on {floor.rows} of {len(dataset.train)} rows (its ceiling is {MAX_ROWS})."
        limits.append({"code": "baseline_sampled", "message": message})
    untested = len(set(dataset.labels) - set(dataset.test.names))
    if untested:
        message = f"{untested} label(s) have no test row, so nothing is known about them."
        limits.append({"code": "labels_untested", "message": message})
    return limits
