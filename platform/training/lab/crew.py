"""One run on several devices of one machine: every process has the whole model and computes a share of each batch.

The first process is the run. It starts the others, as itself with a rank in the environment; they meet over a file in
the run's folder and talk over the machine's loopback, and between GPUs as NCCL does. Gradients are summed before they
are clipped, so a step is that of one device but for rounding and dropout, which each draws from (seed, step, rank):
nothing of it has to be kept for a checkpoint.

Everybody decides the same in the same order: a stop is the first one's word, and a split is read in shares that are put
together for all. The first alone speaks and writes. When it goes, its pipes close and the others go; when one of them
fails, the run ends as that one did.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from training.lab.config import Config
from training.lab.errors import Stopped
from training.lab.events import Emitter
from training.lab.learners import Check, EncoderLearner
from training.lab.loop import Step, Stop

RANK = "TUNESMITH_LAB_RANK"
PATIENCE = dt.timedelta(hours=2)
"""The others wait so long for the first one's baseline and checkpoints."""
OWN_WORDS_SECONDS = 5.0
"""What fails in one process mostly fails in all: so long the first has to say it itself."""
_LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}

T = TypeVar("T")


class Crew:
    """The processes of a run, seen from one of them."""

    def __init__(self, config: Config, *, rank: int) -> None:
        self.rank, self.size, self._seed = rank, config.gpus, config.seed
        cuda = config.device != "cpu" and torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(rank % torch.cuda.device_count())
        os.environ.update({name: value for name, value in _LOOPBACK.items() if name not in os.environ})
        dist.init_process_group(
            # Processes that share a GPU cannot talk through NCCL.
            "cpu:gloo,cuda:nccl" if cuda and torch.cuda.device_count() >= self.size else "gloo",
            init_method=f"file://{_meeting(config).absolute()}",
            rank=rank,
            world_size=self.size,
            timeout=PATIENCE,
        )

    @property
    def leads(self) -> bool:
        """Whether this process is the run."""
        return self.rank == 0

    def drive(self, turns: Generator[Step, None, T]) -> T:
        """Drive the run to its end, as `loop.alone` does; what it returns."""
        try:
            while True:
                self.compute(next(turns))
        except StopIteration as end:
            result: T = end.value
            return result

    def compute(self, step: Step) -> None:
        """The gradients of a step, of everybody's shares of its rows."""
        started = time.perf_counter()
        torch.manual_seed(int(np.random.SeedSequence([self._seed, step.number, self.rank]).generate_state(1)[0]))
        rows, targets = step.rows[self.rank :: self.size], step.targets[self.rank :: self.size]
        value = 0.0
        if len(rows):
            loss = step.mean_loss(step.learner.logits(rows), targets)
            loss = loss * (_weight(targets, step.weights) / _weight(step.targets, step.weights))
            loss.backward()
            value = loss.item()
        step.value = self.sum(value)
        step.guard.check(step.value, step.number)
        self._sum_gradients(list(step.learner.parameters.values()))
        step.seconds = time.perf_counter() - started

    def sum(self, value: float) -> float:
        """The sum of everybody's numbers."""
        total = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(total)
        return total.item()

    def put_together(self, part: NDArray[np.float32]) -> NDArray[np.float32]:
        """The sum of everybody's arrays: each has zeros where the rows are another's."""
        whole = torch.from_numpy(part)
        dist.all_reduce(whole)
        return whole.numpy()

    def leave(self) -> None:
        """Nobody needs the others any more."""
        dist.destroy_process_group()

    def agreed(self, stop: Stop) -> Stop:
        """The first one's word on whether to stop. Everybody has to ask as often."""
        return _Agreed(stop, self)

    def _sum_gradients(self, parameters: list[nn.Parameter]) -> None:
        """In one message."""
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        for parameter, summed in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = summed.view_as(parameter)


class CrewLearner(EncoderLearner):
    """An encoder of which everybody reads a share of a split."""

    def __init__(self, crew: Crew, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._crew = crew

    def read(
        self, split: str, check: Check, *, exact: bool = False, share: tuple[int, int] = (0, 1)
    ) -> NDArray[np.float32]:
        check()
        own = super().read(split, lambda: None, exact=exact, share=(self._crew.rank, self._crew.size))
        return self._crew.put_together(own)


class _Agreed:
    def __init__(self, stop: Stop, crew: Crew) -> None:
        self._stop, self._crew = stop, crew

    @property
    def requested(self) -> bool:
        """Whether the first one was asked to stop."""
        word = torch.tensor(int(self._stop.requested))
        dist.broadcast(word, src=0)
        return bool(word.item())


class Hushed(Emitter):
    """A process that is not the first says nothing of the run; its own fault it tells as it ends."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def __call__(self, event: str, **fields: Any) -> None:
        """Nothing."""


class Never:
    """Nobody asks the others to stop but the first."""

    requested = False


def begin(path: str, config: Config, emit: Emitter) -> Crew:
    """Start the others; called by the first."""
    meeting = _meeting(config)
    meeting.parent.mkdir(parents=True, exist_ok=True)
    meeting.unlink(missing_ok=True)
    for rank in range(1, config.gpus):
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "training.lab", path],
            env=os.environ | {RANK: str(rank)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        threading.Thread(target=_watch, args=(process, emit), name=f"rank {rank}", daemon=True).start()
    return Crew(config, rank=0)


def join(config: Config) -> Crew:
    """Take one's place in a crew; called by the others. They end with the first."""
    threading.Thread(target=_end_with_the_first, name="the first", daemon=True).start()
    return Crew(config, rank=int(os.environ[RANK]))


def _watch(process: subprocess.Popen[bytes], emit: Emitter) -> None:
    """Runs in a thread of the first: a process that fails would leave the others waiting for it."""
    said: dict[str, Any] = {}
    for line in process.stdout or ():
        with contextlib.suppress(ValueError):
            said = json.loads(line)
    status = process.wait()
    if status in (0, Stopped.exit_code):
        return
    time.sleep(OWN_WORDS_SECONDS)
    if not dist.is_initialized():  # the first has all that it needed of the others
        return
    said.pop("event", None)
    emit("error", **(said or {"code": "internal", "message": f"A process of the training ended with {status}."}))
    os._exit(max(status, 1))


def _end_with_the_first() -> None:
    sys.stdin.read()
    os._exit(0)


def _meeting(config: Config) -> Path:
    return Path(config.output) / "meeting"


def _weight(targets: Tensor, weights: Tensor | None) -> float:
    """What a mean over these targets is divided by."""
    return float(len(targets)) if weights is None else weights[targets].sum().item()
