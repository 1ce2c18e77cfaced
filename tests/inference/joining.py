"""How many threads compute where an engine computes with torch, as a line of JSON for each number that it is told: by
encoders, hub and writing, the number that torch has in each lane, and how many more threads the process has since.

python -m tests.inference.joining CATALOGUE THREADS…
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import torch

from inference import backends, trial
from inference.engine import Engine
from inference.settings import Settings
from tests.inference.artefacts import GEOMETRY, base_weights

MANY = 4
"""Threads that torch has before anybody says how many: more than one on any machine."""


def heavy() -> None:
    """Products that torch shares out among its threads."""
    rows = torch.ones(512, 512)
    for _ in range(3):
        rows = torch.tanh(rows @ rows)


def threads() -> int:
    """Those of this process."""
    return len(os.listdir("/proc/self/task"))


def helped(work: Callable[[], Any], lanes: int) -> tuple[list[int], int]:
    """Compute in so many threads at once: what torch has in each, and how many more threads there are than before."""
    meet, numbers, before = threading.Barrier(lanes + 1), [], threads()

    def lane() -> None:
        work()
        heavy()
        numbers.append(torch.get_num_threads())
        meet.wait(60)
        meet.wait(60)

    started = [threading.Thread(target=lane) for _ in range(lanes)]
    for thread in started:
        thread.start()
    meet.wait(60)
    more = threads() - before - lanes
    meet.wait(60)
    for thread in started:
        thread.join()
    return numbers, more


async def find(catalogue: str, wanted: str) -> dict[str, Any]:
    """What an engine's settings with so many `--threads` lead to."""
    torch.set_num_threads(MANY)
    words = ["--listen", "unix:/none", "--backend", "torch", "--device", "cpu", "--precision", "fp32"]
    settings = Settings.from_command_line([*words, "--threads", wanted, "--catalogue", catalogue])
    found: dict[str, Any] = {}

    backend = backends.choose("torch", device=settings.device, precision="fp32", threads=settings.threads)
    encoder = backend.encoder(base_weights(), GEOMETRY, adapters=False)
    batch = trial.batch(16, 64, GEOMETRY)
    found["lanes"] = backend.lanes
    found["encoders"] = helped(lambda: encoder.encode(*batch, None), backend.lanes)

    torch.set_num_threads(MANY)
    backends.hub(device=settings.device, precision="fp32", threads=settings.threads)
    found["hub"] = helped(lambda: None, 1)

    torch.set_num_threads(MANY)
    engine = Engine(settings)
    engine.start()
    done: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()

    def work() -> tuple[int, int]:
        before = threads()
        heavy()
        return torch.get_num_threads(), threads() - before

    engine.causal["tiny"].writer.ask(work, lambda result, error: done.set_result(result or error))  # type: ignore[attr-defined]
    number, more = await done
    found["writing"] = [number], more
    await engine.stop(0)
    return found


if __name__ == "__main__":
    for count in sys.argv[2:]:
        sys.stdout.write(json.dumps(asyncio.run(find(sys.argv[1], count))) + "\n")
