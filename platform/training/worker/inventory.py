"""What a place of this host is: a GPU as nvidia-smi reports it, or a share of the processor. Parsing is pure.

A place has the GPU of its number; of several places for each GPU, they take turns through them.
"""

import logging
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.worker import memory

logger = logging.getLogger(__name__)

FIELDS = "index,name,memory.total,memory.used,temperature.gpu,ecc.errors.uncorrected.volatile.total"
QUERY = ("nvidia-smi", f"--query-gpu={FIELDS}", "--format=csv,noheader,nounits")
QUERY_SECONDS = 10.0
FRESH_SECONDS = 30.0
FREE_SHARE = 0.9
"""Of a GPU's memory that must be free before a run starts on it: less means that somebody else is on it."""
HOT_CELSIUS = 90
GOOD, UNWELL, UNKNOWN = "good", "unwell", "unknown"


@dataclass(frozen=True, slots=True)
class Machine:
    """One GPU, or the processor. Memory in MiB; None is what the machine does not say."""

    kind: str
    name: str
    memory_mib: int | None
    used_mib: int | None
    temperature: int | None = None
    ecc_errors: int | None = None
    cores: int | None = None

    def verdict(self, *, busy: bool) -> tuple[str, str]:
        """Its health, and why it is not good. `busy`: a run of ours may be what fills its memory.

        A GPU that counts no ECC errors is `unknown`: its other faults (Xid) stand in the kernel's log, which is not for
        a worker to read.
        """
        if self.kind != "gpu":
            return GOOD, ""
        if self.ecc_errors:
            return UNWELL, f"{self.ecc_errors} uncorrected memory errors since its start"
        if self.temperature is not None and self.temperature >= HOT_CELSIUS:
            return UNWELL, f"{self.temperature} °C"
        if self.memory_mib is None or self.used_mib is None:
            return UNKNOWN, "it does not say how much memory is free"
        if not busy and self.memory_mib - self.used_mib < FREE_SHARE * self.memory_mib:
            return UNWELL, f"{self.used_mib:,} of {self.memory_mib:,} MiB are taken by something else"
        return (UNKNOWN, "it counts no memory errors") if self.ecc_errors is None else (GOOD, "")

    def as_dict(self, *, busy: bool) -> dict[str, Any]:
        """What is kept with a place."""
        health, why = self.verdict(busy=busy)
        return {**asdict(self), "health": health, "why": why}


def parse(text: str) -> list[Machine]:
    """The GPUs in an answer of nvidia-smi, in the order of their index. A line that is none is left out."""
    found = []
    for line in text.splitlines():
        words = [word.strip() for word in line.split(",")]
        index = _number(words[0])
        if len(words) < 6 or index is None:
            continue
        name = ", ".join(words[1:-4])[:80]
        numbers = [_number(word) for word in words[-4:]]
        found.append((index, Machine("gpu", name, *numbers)))
    return [machine for _, machine in sorted(found, key=lambda pair: pair[0])]


def gpus() -> list[Machine]:
    """This host's GPUs, asked now; none where nvidia-smi is absent or does not answer."""
    if shutil.which(QUERY[0]) is None:
        return []
    try:
        done = subprocess.run(
            QUERY, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=QUERY_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        logger.warning("nvidia-smi does not answer: %s", type(error).__name__)
        return []
    return parse(done.stdout) if done.returncode == 0 else []


def processor() -> Machine:
    """This host's processor and memory."""
    total, free = memory.total(), memory.free()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Machine("cpu", model_name(_read("/proc/cpuinfo")), total >> 20, max(0, total - free) >> 20, cores=cores)


def model_name(cpuinfo: str) -> str:
    """The processor's name in /proc/cpuinfo."""
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    return next((value.strip()[:80] for key, _, value in lines if key.strip() == "model name"), "processor")


def machines(*, cuda: bool) -> list[Machine]:
    """What this host's places run on: its GPUs, or its processor."""
    return (gpus() if cuda else []) or [processor()]


class Inventory:
    """Asks at most every half minute."""

    def __init__(self) -> None:
        self._asked = float("-inf")
        self.devices = 1
        """How many there are; they take the host's places in turn."""

    def due(self, *, cuda: bool) -> list[Machine] | None:
        """What there is, when it is time to say so again; else None."""
        if time.monotonic() - self._asked < FRESH_SECONDS:
            return None
        self._asked = time.monotonic()
        found = machines(cuda=cuda)
        self.devices = len(found)
        return found


def visible(numbers: Sequence[int], *, count: int, own: str | None) -> str:
    """CUDA_VISIBLE_DEVICES for these places, on a host with `count` GPUs whose worker may use `own` (None: all).

    With more places than GPUs, places share them.
    """
    names = [name.strip() for name in own.split(",") if name.strip()] if own else [str(one) for one in range(count)]
    chosen = [names[number % len(names)] for number in sorted(numbers)] if names else []
    return ",".join(dict.fromkeys(chosen))


def _number(word: str) -> int | None:
    try:
        return int(float(word))
    except ValueError:  # "[N/A]", "[Not Supported]"
        return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
