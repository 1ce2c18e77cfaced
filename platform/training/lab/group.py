"""Several LoRA runs over one base in one process: `python -m training.lab A.json B.json …`, in lock step.

Each run is the same recipe as alone. They take turns (reading, tokenising, measuring, saving), and where all of them
wait for the gradients of a step, those are computed in one pass (`together.py`) if that pays. A run keeps its own
clipping, rate, guard, patience, checkpoints, random state and end; it leaves at the border of a step, and the others go
on.

Its events carry `job`, the place of its config on the command line, counted from 0. Its end is told by

    {"event":"end","job":1,"status":75}

with the exit status that it would have had alone. The file `stop` in a run's output folder stops that run alone, as
SIGTERM stops all of them. A run in a group ends with the weights of the run alone, and its checkpoints fit both.
Steps of very few tokens are left out of the shared pass: the library would round their products otherwise than alone,
and Adam makes much of little. With that, weights have come out equal to the bit; the tests hold 1e-5.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from training.lab import text_classification, together
from training.lab.config import CLASSIFICATION, Config, read_config
from training.lab.errors import BadData, LabError
from training.lab.estimate import pays
from training.lab.events import Emitter, tell_end
from training.lab.learners import EncoderLearner
from training.lab.loop import Step, Stop
from training.lab.randomness import Randomness

_ALIKE = ("task", "method", "base", "device", "precision", "threads")  # in which the runs of a group may not differ
_ROWS_PER_THREAD = 8  # products of fewer rows take other paths in the library, and round otherwise than among many
STOP_FILE = "stop"


class OwnStop:
    """A request to stop one run: that of the whole process, or the file `stop` in its output folder."""

    def __init__(self, everybody: Stop, output: str) -> None:
        self._everybody, self._file = everybody, Path(output) / STOP_FILE

    @property
    def requested(self) -> bool:
        """Whether somebody asked."""
        return self._everybody.requested or self._file.exists()


class Member:
    """One run of a group. `step` is what it waits for; None once it has ended."""

    def __init__(self, config: Config, emit: Emitter, stop: Stop) -> None:
        self._emit = emit
        self._turns = text_classification.turns(config, emit, OwnStop(stop, config.output))
        on_gpu = config.device != "cpu" and torch.cuda.is_available()
        self.random = Randomness(torch.device("cuda" if on_gpu else "cpu"))
        self.step: Step | None = None

    def go_on(self, problem: Exception | None = None) -> None:
        """Its turn, to its next step or its end; with the problem that it met on the way to its gradients, if any."""
        with self.random:
            try:
                self.step = next(self._turns) if problem is None else self._turns.throw(problem)
            except StopIteration:
                self._end(0)
            except Exception as error:  # whatever it is, it ends this run alone
                self._end(tell_end(error, self._emit))

    def part(self) -> together.Part:
        """What it wants of a pass that all make together."""
        step = self._waiting()
        if not isinstance(step.learner, EncoderLearner):
            raise TypeError(f"{type(step.learner).__name__} shares no base")
        return together.Part(step.learner, step.rows, self.random)

    def tokens(self) -> int:
        """Tokens of its step, with padding."""
        part = self.part()
        return part.learner.size(part.rows)

    def loss(self, logits: Tensor) -> Tensor | None:
        """Its loss [], or None when that ended it."""
        try:
            return self._waiting().loss(logits)
        except LabError as error:
            self.go_on(error)
            return None

    def compute(self) -> None:
        """Its gradients, without the others."""
        try:
            with self.random:
                self._waiting().compute()
        except Exception as error:
            self.go_on(error)

    def begin_again(self, random: dict[str, Tensor]) -> None:
        """As before the pass that did not come to its end."""
        self.random.state = random
        for parameter in self._waiting().learner.parameters.values():
            parameter.grad = None

    def _waiting(self) -> Step:
        if self.step is None:
            raise RuntimeError("this run waits for nothing")
        return self.step

    def _end(self, status: int) -> None:
        self.step = None
        self._turns.close()
        self._emit("end", status=status)


class Group:
    """Several runs in lock step, as long as any of them goes on."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members
        self._together = True

    def run(self) -> None:
        """All to their ends."""
        self._begin()
        while living := self._living():
            self._compute(living)
            for member in self._living():
                member.go_on()

    def _begin(self) -> None:
        """Everybody to the first step. The base is in memory once, and twice while a run reads it."""
        first: EncoderLearner | None = None
        for member in self._members:
            member.go_on()
            if member.step is not None:
                learner = member.part().learner
                first = first or learner
                together.share_frozen(learner, first)

    def _living(self) -> list[Member]:
        return [member for member in self._members if member.step is not None]

    def _compute(self, members: Sequence[Member]) -> None:
        """The gradients of everybody's step: in one pass where that pays and is exact, else one after another."""
        sharing = self._sharing(members)
        for member in members:
            if member not in sharing:
                member.compute()
        if not sharing:
            return
        before = [member.random.state for member in sharing]
        try:
            _pass(sharing)
            return
        except Exception:  # too large for this machine's memory, or the fault of one of them
            traceback.print_exc()
        begun = [(member, random) for member, random in zip(sharing, before, strict=True) if member.step is not None]
        for member, random in begun:
            member.begin_again(random)
            member.compute()
        # Where nobody failed alone it was nobody's own fault, and would only happen again.
        self._together = any(member.step is None for member, _ in begun)

    def _sharing(self, members: Sequence[Member]) -> list[Member]:
        """Who makes its step with others; empty where nobody does."""
        if not self._together:
            return []
        fewest = _ROWS_PER_THREAD * torch.get_num_threads()
        sharing = [member for member in members if member.tokens() >= fewest]
        device = members[0].random.device.type
        return sharing if pays([member.tokens() for member in sharing], device) else []


def run(paths: Sequence[str], emit: Emitter, stop: Stop) -> None:
    """Train all to their ends. BadData where they cannot share a process: then none was begun."""
    configs: dict[int, Config] = {}
    for job, path in enumerate(paths):
        own = emit.of(job)
        try:
            configs[job] = read_config(path)
        except LabError as error:
            own("end", status=tell_end(error, own))
    for name in _ALIKE:
        if len({getattr(config, name) for config in configs.values()}) > 1:
            raise BadData(f"The configs of a group differ in '{name}'.")
    if any(config.task != CLASSIFICATION for config in configs.values()):
        raise BadData("Only runs of text-classification share a base.")
    if any(config.method != "lora" for config in configs.values()):
        raise BadData("Only the method 'lora' leaves the base as it is, so that several runs can share it.")
    if any(config.gpus > 1 for config in configs.values()):
        raise BadData("A run of a group trains on one device: leave 'gpus' out.")
    if len({config.output for config in configs.values()}) < len(configs):
        raise BadData("Each run of a group needs an 'output' of its own.")
    Group([Member(config, emit.of(job), stop) for job, config in configs.items()]).run()


def _pass(members: Sequence[Member]) -> None:
    """One forward and one backward for all; who does not survive its loss is not part of the backward."""
    started = time.perf_counter()
    logits = together.logits_of([member.part() for member in members])
    losses = [loss for member, own in zip(members, logits, strict=True) if (loss := member.loss(own)) is not None]
    if losses:
        torch.autograd.backward(losses)
    seconds = time.perf_counter() - started
    for member in members:
        if member.step is not None:
            member.step.seconds = seconds
