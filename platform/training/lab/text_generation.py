"""Text generation: a causal language model, taught the replies of conversations or of prompts (supervised fine-tuning).

The recipe from the dataset version to the artefact, in the order in which it happens. The floor is the untuned base on
the same test rows: what is not better than that need not have been paid for. It keeps the weights of the best
validation loss, and touches the test rows twice, before and after training, in fp32.

It does not promise: bit-equal results across different numbers of threads, devices or library versions.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from evaluation import replies as reports
from inference.chat import Voice, read_voice
from training.lab import artefact, checkpoint
from training.lab.causal import CausalLearner, Replies
from training.lab.config import Config
from training.lab.data import SPLITS, read_tokenizer
from training.lab.device import Place, place_for
from training.lab.dialogues import LONGEST, Dialogues, Marked, encode_dialogues, read_dialogues, text_of
from training.lab.errors import BadData, Stopped
from training.lab.events import Emitter
from training.lab.loop import Loop, Step, Stop, alone
from training.lab.plan import Plan, plan_for
from training.lab.shape import Shape, as_bad_data, read_shape

PARITY_ROWS, PARITY_TOKENS = 16, 256


@dataclass(slots=True)
class Run:
    """What the phases hand on to each other."""

    config: Config
    emit: Emitter
    stop: Stop
    place: Place
    plan: Plan
    dialogues: Dialogues
    shape: Shape
    voice: Voice
    started: float
    max_length: int = 0
    marked: dict[str, Marked] = field(default_factory=dict)

    def check(self) -> None:
        """Raise Stopped if a stop was asked for, before there is anything to save."""
        if self.stop.requested or self.emit.broken:
            raise Stopped("Stopped on request before the first training step.")


def run(config: Config, emit: Emitter, stop: Stop) -> Path:
    """Train and write the artefact; returns its folder. Raises the family of `errors`."""
    return alone(turns(config, emit, stop))


def turns(config: Config, emit: Emitter, stop: Stop) -> Generator[Step, None, Path]:
    """The run with a pause for each step of its training, see `loop.py`; returns and raises as `run`."""
    folder = Path(config.output) / "artefact"
    started = time.monotonic()

    # 1. Read the rows, resolve what is "auto"
    emit.phase("loading")
    work = _begin(config, emit, stop, started)

    # 2. Write every row as the base reads it, and tokenise it once
    work.check()
    emit.phase("tokenising", rows=sum(work.dialogues.count(name) for name in SPLITS))
    _tokenise(work)

    # 3. The floor: adapters that were never moved change nothing, so this is the base
    work.check()
    emit.phase("baseline")
    learner = CausalLearner(config, work.plan, work.place, work.marked)
    base = learner.measure("test", work.check, exact=True)

    # 4. Train
    aim = Replies(work.marked["train"], work.shape.vocabulary)
    spec = checkpoint.spec_of(config, work.plan, precision=work.place.precision)
    loop = Loop(learner, aim, config, work.plan, spec=spec, emit=emit, stop=stop)
    if config.resume:
        loop.resume_from(Path(config.resume))
    emit.phase("training", step=loop.progress.step, total_steps=loop.total_steps, epochs=work.plan.epochs)
    yield from loop.turns()

    # 5. Measure the test rows, in fp32
    emit.phase("evaluating")
    tuned = learner.measure("test", loop.obey_stop, exact=True)
    report = _report(work, loop, tuned, base)

    # 6. Write it down
    emit.phase("saving")
    artefact.write_adapter(
        folder,
        config,
        work.plan,
        artefact.Adapter(
            max_length=work.max_length,
            tensors=learner.state(),
            targets=sorted(learner.adapters()),
            sequences=_sequences(work.marked["test"], learner),
            report=report,
            history=loop.history,
        ),
    )
    emit(
        "done",
        artefact=str(folder),
        report=str(folder / "report.json"),
        trained_tokens=loop.progress.tokens,
        steps=loop.progress.step,
    )
    return folder


def _begin(config: Config, emit: Emitter, stop: Stop, started: float) -> Run:
    dialogues, shape = read_dialogues(config.data), read_shape(config.base)
    if not shape.causal:
        raise BadData(f"The base ({shape.architecture}) is no causal language model; it cannot learn to write.")
    with as_bad_data():
        voice = read_voice(Path(config.base))
    place = place_for(config)
    plan = plan_for(config, train_rows=dialogues.count("train"), hidden=shape.hidden)
    return Run(config, emit, stop, place, plan, dialogues, shape, voice, started)


def _tokenise(work: Run) -> None:
    """Tokens and marks of the three splits, cut to the limit."""
    config, positions = work.config, work.shape.positions
    if config.max_length == "auto":
        work.max_length = min(positions, LONGEST)
    elif config.max_length > positions:
        raise BadData(f"Config field 'max_length' is {config.max_length}; the base reads {positions} at most.")
    else:
        work.max_length = config.max_length
    tokenizer = read_tokenizer(config.base)
    for name in SPLITS:
        found = encode_dialogues(
            tokenizer,
            work.voice,
            work.dialogues.rows[name],
            row_ids=work.dialogues.row_ids[name],
            chat=work.dialogues.chat,
            limit=work.max_length,
            check=work.check,
        )
        if not len(found):
            raise BadData(
                f"No row of the {name} split has a reply within the first {work.max_length} tokens. Shorten the "
                "prompts, or train on a base with a longer context."
            )
        if int(found.flat.max()) >= work.shape.vocabulary:
            raise BadData("The base's tokenizer gives ids that its word table does not have.")
        work.marked[name] = found


def _sequences(test: Marked, learner: CausalLearner) -> list[dict[str, Any]]:
    """Rows spread over the test rows, with the log-probabilities of their replies' tokens: what serving compares with.

    Where a reply begins beyond the first tokens that are kept, the second half of these is taken instead.
    """
    count = min(PARITY_ROWS, len(test))
    found = []
    for index in np.unique(np.linspace(0, len(test) - 1, count).round().astype(int)):
        ids, marks = test.row(int(index))
        ids, first = ids[:PARITY_TOKENS], int(np.argmax(marks))
        start = first if first < len(ids) else len(ids) // 2
        chances = [round(one, 8) for one in learner.log_probabilities(ids, start)]
        found.append({"tokens": ids.tolist(), "start": start, "logprobs": chances})
    return found


def _report(work: Run, loop: Loop, tuned: reports.Told, base: reports.Told) -> dict[str, Any]:
    """The report on the test rows."""
    config, dialogues, kept = work.config, work.dialogues, work.marked["test"].kept
    rows = [dialogues.rows["test"][i] for i in kept]
    return reports.build(
        task=config.task,
        row_ids=[dialogues.row_ids["test"][i] for i in kept],
        texts=[text_of(row, work.voice, chat=dialogues.chat).text for row in rows],
        tuned=tuned,
        base=base,
        base_name=config.base_name,
        counts={name: len(work.marked[name]) for name in SPLITS},
        training=_training_record(work, loop),
        limits=_limits(work),
        resamples=config.bootstrap,
        seed=config.seed,
    )


def _training_record(work: Run, loop: Loop) -> dict[str, Any]:
    """How the model came about, for the report."""
    return loop.record(
        work.place,
        work.started,
        reply_tokens=int(work.marked["train"].replies.sum()),
        lora_rank=work.config.lora_rank,
        max_length=work.max_length,
        chat_template="" if not work.dialogues.chat else "base" if work.voice.template else "plain",
        processes=1,
    )


def _limits(work: Run) -> list[dict[str, str]]:
    """What a reader must know before trusting the figures; each {"code", "message"}."""
    limits = []
    marked = work.marked.values()
    if cut := sum(part.cut for part in marked):
        message = f"{cut} row(s) were longer than {work.max_length} tokens; the model learns from their beginning."
        limits.append({"code": "texts_cut", "message": message})
    if silent := sum(part.silent for part in marked):
        message = f"{silent} row(s) have no reply within {work.max_length} tokens and were left out."
        limits.append({"code": "rows_silent", "message": message})
    if unlearnt := sum(part.unlearnt for part in marked):
        message = f"{unlearnt} answer(s) before the last are written otherwise by the base's chat template once more "
        limits.append({"code": "answers_left_out", "message": message + "follows them; they were not learnt from."})
    if work.dialogues.chat and work.voice.template is None:
        message = "The base has no chat template. Conversations were written in the plain form that serving uses too."
        limits.append({"code": "plain_chat", "message": message})
    return limits
