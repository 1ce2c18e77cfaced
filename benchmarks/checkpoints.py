"""What checkpoints cost, and what a kill costs with them: real runs of the lab on CLINC150.

    python benchmarks/checkpoints.py [--labels 20] [--kills 5] [--method full] [--every 10]

First one run that writes a checkpoint every second: seconds and bytes of each, beside the median step, and the share of
the training that is at the default interval. Then runs that are killed with SIGKILL at a random moment of their
training and started again from their newest checkpoint, with one every `--every` seconds: the seconds of training that
were done twice, and what starting again took (imports, tokens, the baseline). Needs CLINC150 (see clinc150.py).
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "platform")]

from benchmarks import clinc150  # noqa: E402

DEFAULT_SECONDS = 120.0


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=20)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--method", choices=("full", "lora"), default="full")
    parser.add_argument("--every", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--writer", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.writer:
        print(json.dumps(write_often(json.loads(options.writer.read_text()))))
        return 0
    source = clinc150.find_source()
    if source is None:
        print("CLINC150 is not here; set TUNESMITH_DATA_DIR.")
        return 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = _config(clinc150.write_parquet(source, folder / "data.parquet", labels=options.labels), options.method)
        _cost(config, folder)
        _kills(config, folder, options)
    return 0


def _config(data: Path, method: str) -> dict[str, Any]:
    base = {"base": clinc150.find_base(), "base_name": "all-MiniLM-L6-v2"}
    return {"task": "text-classification", "data": str(data), "method": method, "epochs": 3, "patience": 0, **base}


def _cost(config: dict[str, Any], folder: Path) -> None:
    path = folder / "writer.json"
    path.write_text(json.dumps(config | {"output": str(folder / "writer"), "checkpoint_seconds": 1.0}))
    command = [sys.executable, __file__, "--writer", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    seen = json.loads(done.stdout.splitlines()[-1])
    took, step = statistics.median(seen["seconds"]), statistics.median(seen["steps"])
    print(
        f"{config['method']}: a checkpoint takes {took:.3f} s ({len(seen['seconds'])} of them, "
        f"{statistics.median(seen['bytes']) / 1e6:.1f} MB), a step {step:.3f} s: {took / step:.1f} steps; "
        f"every {DEFAULT_SECONDS:.0f} s that is {100 * took / DEFAULT_SECONDS:.2f} % of the training"
    )


def write_often(raw: dict[str, Any]) -> dict[str, Any]:
    """In a process of its own: one run, each checkpoint and step timed."""
    from training.lab.__main__ import StopSignal, prepare_process

    prepare_process()
    from training.lab import loop, text_classification
    from training.lab.config import config_from
    from training.lab.events import Emitter

    seen: dict[str, Any] = {"seconds": [], "bytes": [], "steps": []}

    class Timed(loop.Loop):
        def save(self) -> None:
            began = time.perf_counter()
            super().save()
            seen["seconds"].append(time.perf_counter() - began)
            newest = max((Path(raw["output"]) / "checkpoints").iterdir())
            seen["bytes"].append(sum(file.stat().st_size for file in newest.iterdir()))

        def _step(self, rows: Any) -> Generator[loop.Step, None, None]:
            began = time.perf_counter()
            yield from super()._step(rows)
            seen["steps"].append(time.perf_counter() - began)

    text_classification.Loop = Timed  # type: ignore[misc]
    text_classification.run(config_from(raw), Emitter(sys.stderr), StopSignal())
    return seen


def _kills(config: dict[str, Any], folder: Path, options: argparse.Namespace) -> None:
    dice = random.Random(options.seed)
    config = config | {"checkpoint_seconds": options.every}
    whole = _run(config | {"output": str(folder / "whole")}, folder)
    twice, again = [], []
    for number in range(options.kills):
        output = folder / f"killed-{number}"
        moment = dice.uniform(0.1, 0.9) * whole["training"]
        first = _run(config | {"output": str(output)}, folder, kill_after=moment)
        resume = str(output / "checkpoints") if (output / "checkpoints").is_dir() else None
        second = _run(config | {"output": str(output), "resume": resume}, folder)
        twice.append(first["training"] + second["training"] - whole["training"])
        again.append(second["before"])
    print(
        f"{options.kills} kills, a checkpoint every {options.every:g} s, {whole['training']:.0f} s of training: "
        f"{statistics.mean(twice):.1f} s done twice (at most {max(twice):.1f}), "
        f"{statistics.mean(again):.1f} s until training went on"
    )


def _run(config: dict[str, Any], folder: Path, *, kill_after: float | None = None) -> dict[str, float]:
    """Seconds before the training and of it; killed so long into the training, if that is said."""
    path = folder / "run.json"
    path.write_text(json.dumps(config))
    began, start, end = time.monotonic(), 0.0, 0.0
    command = [sys.executable, "-u", "-m", "training.lab", str(path)]
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}", "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:
        for line in process.stdout or ():
            event = json.loads(line)
            if event.get("phase") == "training":
                start = time.monotonic()
            elif event.get("phase") == "evaluating":
                end = time.monotonic()
            if kill_after is not None and start and time.monotonic() - start > kill_after:
                process.kill()
                end = time.monotonic()
                break
    if not start or not end:
        raise RuntimeError("the run ended before its training did")
    return {"before": start - began, "training": end - start}


if __name__ == "__main__":
    sys.exit(main())
