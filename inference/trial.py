"""Which backend and precision an engine computes with: the fastest here that answers as the reference does.

At the first start on a machine every installed backend computes a few fixed batches, each in a process of its own, so
that a library that crashes takes nothing with it and the losers' memory is given back. The result is kept in a file,
by machine, versions and base, and read at the next start.

The rule: a candidate must stay within its precision's tolerance of plain fp32 (`inference.reference`); its speed is the
geometric mean of rows per second over `SHAPES`; of those within `TIE` of the fastest, the nearest to the reference
wins.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import itertools
import json
import logging
import math
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from inference import backends, reference
from inference.artefact import read_base
from inference.catalogue import Base
from inference.encoder import Encoder, Ids
from inference.geometry import Geometry
from inference.settings import Settings
from inference.tensors import Array
from inference.wire import TrialReport

log = logging.getLogger(__name__)

VERSION = 2  # of what is measured and of the file; a change makes old files worthless
SHAPES = ((1, 16), (8, 32), (32, 32))  # rows, tokens
TOLERANCE = {"bf16": 0.05, "fp32": 0.002}  # largest length of the difference between two unit vectors
TIE = 0.9
HOPELESS = 0.35  # of the fastest at one shape: the others are not measured
SLICE_S = 0.05  # one look at one shape, if a batch is not longer
INCOMPLETE_S = 3600  # a trial in which somebody had no time (a cold disk, a busy machine) is repeated after this
NO_TIME = "no time was left"
PATIENCE_S = 8.0  # for everything; a candidate that is not measured by then takes no part


def choose(settings: Settings, base: Base | None) -> tuple[str, str, list[TrialReport]]:
    """(backend, precision, figures) for an engine whose first BERT is `base`.

    What the settings name is taken. Where only one candidate is left there is no trial, and no figures.
    """
    candidates = [
        (name, precision)
        for name in backends.installed()
        if settings.backend in ("auto", name) and not (settings.device.startswith("cuda") and name != "torch")
        for precision in backends.PRECISIONS[name]
        if settings.precision in ("auto", precision)
    ]
    if base is None or len(candidates) < 2:
        name, precision = candidates[0] if candidates else (settings.backend, settings.precision)
        return name, precision, []
    path = settings.trials / f"{_key(settings, base, candidates)}.json"
    figures = _kept(path)
    if figures is None:
        figures = judge(list(_measured(settings, base, candidates)))
        _keep(path, figures)
    for one in figures:
        log.info("trial: %s", in_words(one))
    best = next((one for one in figures if one.outcome == "chosen"), None)
    if best is None:
        name = candidates[0][0]
        log.warning("no backend passed the trial; taking %s, precision %s", name, settings.precision)
        return name, settings.precision, figures
    return best.backend, best.precision, figures


def judge(figures: list[TrialReport]) -> list[TrialReport]:
    """The same figures with their outcomes, by the rule above; the chosen one first, then by speed."""
    passed = [
        one for one in figures if len(one.rows_per_s) == len(SHAPES) and one.difference <= TOLERANCE[one.precision]
    ]
    fastest = max((speed(one) for one in passed), default=0.0)
    level = [one for one in passed if speed(one) >= TIE * fastest]
    best = min(level, key=lambda one: one.difference, default=None)
    judged = []
    for one in figures:
        outcome = one.outcome
        if one is best:
            outcome = "chosen"
        elif one.difference > TOLERANCE[one.precision]:
            outcome = "too far from the reference"
        elif one.rows_per_s and not outcome:
            outcome = "slower"
        judged.append(msgspec.structs.replace(one, outcome=outcome))
    return sorted(judged, key=lambda one: (one.outcome != "chosen", -speed(one)))


def speed(one: TrialReport) -> float:
    """The geometric mean of its rates; 0 where nothing was measured."""
    return math.exp(sum(map(math.log, one.rows_per_s)) / len(one.rows_per_s)) if one.rows_per_s else 0.0


def in_words(one: TrialReport) -> str:
    """One line for the log."""
    name = f"{one.backend} {one.precision}"
    if not one.rows_per_s:
        return f"{name}: {one.outcome}"
    rates = " / ".join(f"{rate:.0f}" for rate in one.rows_per_s)
    shapes = ", ".join(f"{rows}x{tokens}" for rows, tokens in SHAPES)
    return f"{name}: {rates} rows/s at {shapes}; {one.difference:.2g} from the reference; {one.outcome}"


def _measured(settings: Settings, base: Base, candidates: list[tuple[str, str]]) -> Iterator[TrialReport]:
    """Every candidate's figures, without a verdict. All prepare at once; then they are measured one at a time."""
    deadline = time.monotonic() + PATIENCE_S
    with contextlib.ExitStack() as stack:
        found: dict[tuple[str, str], Contestant] = {}
        for name, own in itertools.groupby(candidates, key=lambda one: one[0]):
            contestant = stack.enter_context(Contestant(name, [p for _, p in own], settings, base.folder, deadline))
            found |= dict.fromkeys([(name, precision) for precision in contestant.precisions], contestant)
        rates: dict[tuple[str, str], list[float]] = {candidate: [] for candidate in found}
        for look, place in itertools.product(range(2), range(len(SHAPES))):
            for candidate, contestant in found.items():
                mine = rates[candidate]
                last = len(mine) - 1
                if last + 1 < place or (
                    mine and mine[-1] < HOPELESS * max(r[last] for r in rates.values() if r[last:])
                ):
                    continue
                seen = contestant.measure(candidate[1], place)
                if seen and look:  # the better of two looks: a stranger on the machine only ever slows
                    mine[place] = max(mine[place], seen)
                elif seen:
                    mine.append(seen)
        for (name, precision), contestant in found.items():
            yield TrialReport(
                name, precision, rates[name, precision], contestant.differences.get(precision, 0.0), contestant.problem
            )


class Contestant:
    """A process that computes with one backend, in all the precisions asked for. Killed at the deadline.

    `differences` is filled by `prepare`; `problem` says why there are no figures.
    """

    def __init__(
        self, name: str, precisions: list[str], settings: Settings, folder: Path, deadline: float | None
    ) -> None:
        self.precisions = precisions
        self.differences: dict[str, float] = {}
        self.problem = ""
        asked = [name, ",".join(precisions), settings.device, str(settings.threads), str(folder)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "inference.trial", *asked],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            # numpy computes the reference: its threads would spin against those of the others
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
        self._deadline = deadline
        self._killer = None
        if deadline is not None:
            self._killer = threading.Timer(max(deadline - time.monotonic(), 0), self._process.kill)
            self._killer.start()

    def __enter__(self) -> Contestant:
        return self

    def __exit__(self, *_: object) -> None:
        if self._killer is not None:
            self._killer.cancel()
        self._process.kill()
        self._process.communicate()

    def prepare(self) -> bool:
        """Wait until it is ready; false if it will never be, with a `problem`."""
        if not self.problem and not self.differences:
            answer = self._read("prepared") or {}
            self.differences = answer.get("differences", {})
            self.problem = answer.get("problem", self.problem)
        return not self.problem

    def measure(self, precision: str, place: int, seconds: float = SLICE_S) -> float:
        """Rows per second at one of `SHAPES`; 0, and a `problem`, where it cannot compute or has no time."""
        assert self._process.stdin is not None
        if not self.prepare():
            return 0.0
        with contextlib.suppress(OSError):
            self._process.stdin.write(f"{precision} {place} {seconds}\n")
            self._process.stdin.flush()
        return float((self._read("measured") or {"rate": 0.0})["rate"])

    def _read(self, step: str) -> dict[str, Any] | None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line.endswith("\n"):
            return dict(json.loads(line))
        late = self._deadline is not None and time.monotonic() >= self._deadline
        self.problem = f"could not be {step}: " + (NO_TIME if late else "the library failed")
        return None


def contest(name: str, precisions: list[str], device: str, threads: int, folder: Path) -> None:
    """The contestant's side: prepare, tell the differences, then answer each line of the standard input."""
    weights, geometry = read_base(folder)
    ids, mask = batch(8, 32, geometry, ragged=True)
    expected = _unit(reference.encode(weights, geometry, ids, mask))
    encoders: dict[str, Encoder] = {}
    differences = {}
    try:
        for precision in precisions:
            backend = backends.choose(name, device=device, precision=precision, threads=threads)
            encoder = encoders[precision] = backend.encoder(weights, geometry, adapters=False)
            found = _unit(encoder.encode(ids, mask, None))
            differences[precision] = float(np.linalg.norm(found - expected, axis=1).max())
    except Exception as error:  # whatever a library raises on this machine is its answer
        _tell({"problem": f"could not be prepared: {error}"})
        return
    _tell({"differences": differences})
    batches = [batch(rows, tokens, geometry) for rows, tokens in SHAPES]
    for line in sys.stdin:
        precision, place, seconds = line.split()
        found_rate = rate(encoders[precision].encode, *batches[int(place)], float(seconds))
        _tell({"rate": found_rate})


def _tell(answer: dict[str, Any]) -> None:
    """One line to whoever runs the trial."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def rate(encode: Callable[[Ids, Array, None], Array], ids: Ids, mask: Array, seconds: float) -> float:
    """Rows per second over `seconds`, or over one batch where that takes longer; a third of the time warms up."""
    for part in (seconds / 3, seconds):
        done, begun, now = 0, time.perf_counter(), 0.0
        while not done or now - begun < part:
            encode(ids, mask, None)
            done, now = done + len(ids), time.perf_counter()
    return done / (now - begun)


def batch(rows: int, tokens: int, geometry: Geometry, *, ragged: bool = False) -> tuple[Ids, Array]:
    """The same made-up tokens every time; `ragged` rows grow from a quarter of the length to all of it."""
    ids = np.random.default_rng(rows).integers(0, geometry.vocabulary, (rows, tokens)).astype(np.int32)
    mask = np.ones((rows, tokens), np.float32)
    if ragged:
        lengths = np.linspace(tokens // 4, tokens, rows).astype(int)
        mask = (np.arange(tokens)[None, :] < lengths[:, None]).astype(np.float32)
    return ids, mask


def _unit(vectors: Array) -> Array:
    result: Array = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return result


def _key(settings: Settings, base: Base, candidates: list[tuple[str, str]]) -> str:
    """The name of the file: everything that could change the outcome."""
    versions = {}
    for name in ("openvino", "onnxruntime", "torch", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    with (base.folder / "model.safetensors").open("rb") as file:
        weights = hashlib.file_digest(file, "sha256").hexdigest()
    devices = sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*"))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    facts = [VERSION, _processor(), backends.cores(), devices, visible, versions, weights, settings.device,
             settings.threads, candidates]  # fmt: skip
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _processor() -> str:
    """Model and instruction sets of the CPU, as the kernel tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    known = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(known)}))


def _kept(path: Path) -> list[TrialReport] | None:
    """The figures of an earlier start; None where there are none that can be read."""
    try:
        figures = msgspec.json.decode(path.read_bytes(), type=list[TrialReport])
        old = time.time() - path.stat().st_mtime > INCOMPLETE_S
    except (OSError, msgspec.MsgspecError):
        return None
    return None if old and any(one.outcome.endswith(NO_TIME) for one in figures) else figures


def _keep(path: Path, figures: list[TrialReport]) -> None:
    """For the next start. A folder that cannot be written to costs a trial at each start, and nothing else."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
        draft.replace(path)
    except OSError as error:
        log.warning("the trial of backends cannot be kept in %s: %s", path.parent, error)


if __name__ == "__main__":
    _name, _precisions, _device, _threads, _folder = sys.argv[1:]
    contest(_name, _precisions.split(","), _device, int(_threads), Path(_folder))
