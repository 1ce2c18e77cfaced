"""Several LoRA runs over one base: in one process against one after another, on the same rows, interleaved.

    python benchmarks/shared_base.py                what one step costs, over runs x batch x length
    python benchmarks/shared_base.py --whole        whole runs as a worker starts them, on rows of CLINC150
    options: --rounds N  --precision fp32|bf16  --threads N  --device cpu|cuda  --base FOLDER

A step is forward and backward of everybody's batch; the update of the weights is each run's own either way. The ratio
is the median over the rounds of (one after another / together), in which both sides follow each other at once, so that
a neighbour on the machine hurts both. `wall` is the clock, `cpu` is CPU seconds of the process. Above 1 sharing pays.
`apart` is the largest difference between the gradients of the two sides. Base: all-MiniLM-L6-v2, as in training.py, or
any other folder of a BERT; `--shapes 4x32x128 …` gives other runs x batch x length.

`training.lab.estimate.pays` was read off these tables.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "platform")]

from benchmarks import clinc150  # noqa: E402

SHAPES = (
    *((runs, 4, 12) for runs in (2, 4, 8)),
    *((runs, 8, 12) for runs in (2, 4, 8)),
    *((runs, 16, 12) for runs in (2, 4, 8)),
    *((runs, 32, 12) for runs in (2, 4)),
    *((4, batch, 64) for batch in (1, 4, 16)),
    (4, 1, 12),
    (8, 1, 12),
)
WHOLE = ((2, 40), (4, 40), (4, 200), (8, 40))
"""(runs, training rows of each)."""


@dataclass(frozen=True)
class Spent:
    """Seconds by the clock and of the CPU."""

    wall: float
    cpu: float


def main() -> int:
    """Print one of the two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--base", help="folder of a base; that of training.py when left out")
    parser.add_argument("--shapes", nargs="+", type=lambda word: tuple(map(int, word.split("x"))), default=SHAPES)
    parser.add_argument("--whole", action="store_true")
    options = parser.parse_args()
    if options.whole:
        return whole(options)
    from training.lab.__main__ import prepare_process

    prepare_process()
    print(f"{options.device}, {options.precision}, {options.threads} threads, {options.rounds} rounds")
    print("runs x batch x length | tokens a run | apart ms | together ms |  wall |   cpu | apart")
    for shape in options.shapes:
        one_step(*shape, options)
    print(f"load average {os.getloadavg()[0]:.1f}")
    return 0


def one_step(runs: int, batch: int, length: int, options: argparse.Namespace) -> None:
    """One row of the table of steps."""
    import torch

    from training.lab import together
    from training.lab.randomness import Randomness

    learners = [_learner(seed, batch, length, options) for seed in range(runs)]
    for learner in learners[1:]:
        together.share_frozen(learner, learners[0])
    own = [Randomness(torch.device(options.device)) for _ in learners]
    rows, truth = torch.arange(batch).numpy(), torch.zeros(batch, dtype=torch.long, device=options.device)

    def loss(logits: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(logits.float(), truth)

    def one_by_one() -> None:
        for learner, drawn in zip(learners, own, strict=True):
            with drawn:
                loss(learner.logits(rows)).backward()

    def side_by_side() -> None:
        parts = [together.Part(learner, rows, drawn) for learner, drawn in zip(learners, own, strict=True)]
        torch.autograd.backward([loss(logits) for logits in together.logits_of(parts)])

    def gradients(side: Callable[[], None]) -> list[torch.Tensor]:
        before = [drawn.state for drawn in own]
        for learner in learners:
            for parameter in learner.parameters.values():
                parameter.grad = None
        side()
        if options.device == "cuda":
            torch.cuda.synchronize()
        for drawn, state in zip(own, before, strict=True):
            drawn.state = state
        return [p.grad for learner in learners for p in learner.parameters.values() if p.grad is not None]

    apart = max(float((a - b).abs().max()) for a, b in zip(gradients(one_by_one), gradients(side_by_side), strict=True))
    spent: dict[Callable[[], None], list[Spent]] = {one_by_one: [], side_by_side: []}
    for _ in range(options.rounds):
        for side, seen in spent.items():
            seen.append(_timed(lambda side=side: gradients(side)))  # type: ignore[misc]
    first, second = spent[one_by_one], spent[side_by_side]
    print(
        f"{runs:4} x {batch:5} x {length:6} | {batch * length:12} | {_middle(first) * 1e3:8.1f} |"
        f" {_middle(second) * 1e3:11.1f} | {_ratio(first, second, 'wall'):5.2f} | {_ratio(first, second, 'cpu'):5.2f}"
        f" | {apart:.0e}",
        flush=True,
    )


def whole(options: argparse.Namespace) -> int:
    """The table of whole runs: start of the process, reading, floor, training, measuring, saving."""
    source = clinc150.find_source()
    if source is None:
        print("CLINC150 is not here; set TUNESMITH_DATA_DIR.")
        return 2
    print(f"{options.device}, {options.precision}, {options.threads} threads, {options.rounds} rounds")
    print("runs | training rows | apart s | together s |  wall |   cpu | MB apart, together")
    for runs, rows in WHOLE:
        first, second, apart, together = [], [], 0, 0
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as name:
                configs = _configs(Path(name), source, runs, rows, options)
                peaks: list[int] = []
                first.append(_timed(lambda: peaks.extend([_lab([one]) for one in configs])))  # noqa: B023
                apart = max(apart, sum(peaks))
                second.append(_timed(lambda: peaks.append(_lab(configs))))  # noqa: B023
                together = max(together, peaks[-1])
        print(
            f"{runs:4} | {rows:13} | {_middle(first):7.1f} | {_middle(second):10.1f} |"
            f" {_ratio(first, second, 'wall'):5.2f} | {_ratio(first, second, 'cpu'):5.2f} | {apart:5} {together:5}",
            flush=True,
        )
    print(f"load average {os.getloadavg()[0]:.1f}")
    return 0


def _learner(seed: int, batch: int, length: int, options: argparse.Namespace) -> Any:
    """A LoRA run over random tokens."""
    import numpy as np

    from training.lab.config import config_from
    from training.lab.data import Encoded
    from training.lab.device import place_for
    from training.lab.learners import EncoderLearner
    from training.lab.plan import plan_for

    config = config_from(_settings(options) | {"data": "none", "output": "none"})
    tokens = np.random.default_rng(seed).integers(1000, 20_000, batch * length).astype(np.int32)
    encoded = Encoded(tokens, np.arange(batch + 1) * length, cut=0)
    return EncoderLearner(config, plan_for(config, train_rows=batch), place_for(config), {"train": encoded}, 5)


def _configs(folder: Path, source: Path, runs: int, rows: int, options: argparse.Namespace) -> list[Path]:
    """Configs of runs on four labels each, with labels of its own for each run."""
    everything = list(clinc150.rows(source, labels=4 * runs))
    random.Random(5).shuffle(everything)
    names = sorted({label for _, label, _ in everything})
    paths = []
    for number in range(runs):
        mine = set(names[4 * number : 4 * number + 4])
        own = [
            row
            for split, count in (("train", rows), ("validation", 20), ("test", 20))
            for row in [row for row in everything if row[1] in mine and row[2] == split][:count]
        ]
        columns = {"row_id": pa.array(range(len(own)), pa.int64())}
        columns |= {key: pa.array([row[i] for row in own]) for i, key in enumerate(("text", "label", "split"))}
        pq.write_table(pa.table(columns), folder / f"{number}.parquet")
        config = _settings(options)
        config |= {"data": str(folder / f"{number}.parquet"), "output": str(folder / f"out-{number}")}
        paths.append(folder / f"{number}.json")
        paths[-1].write_text(json.dumps(config))
    return paths


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    base = options.base or clinc150.find_base()
    config = {"task": "text-classification", "base": base, "base_name": Path(base).name, "method": "lora"}
    return config | {"device": options.device, "precision": options.precision, "threads": options.threads}


def _lab(configs: list[Path]) -> int:
    """Run the lab on them in one process; the most memory it had, in MB."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "platform")])}
    command = [sys.executable, "-m", "training.lab", *map(str, configs)]
    with (configs[0].parent / "said").open("w") as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError((configs[0].parent / "said").read_text()[-2000:])
    return used.ru_maxrss >> 10


def _timed(work: Callable[[], Any]) -> Spent:
    started, begun = time.perf_counter(), os.times()
    work()
    ended = os.times()
    cpu = sum(ended[i] - begun[i] for i in range(4))  # of this process and of those it waited for
    return Spent(time.perf_counter() - started, cpu)


def _middle(seen: list[Spent]) -> float:
    return statistics.median(one.wall for one in seen)


def _ratio(first: list[Spent], second: list[Spent], what: str) -> float:
    pairs = zip(first, second, strict=True)
    return statistics.median(getattr(one, what) / max(getattr(other, what), 1e-9) for one, other in pairs)


if __name__ == "__main__":
    sys.exit(main())
