"""The encoder alone: backend x precision x threads x batch, on a quiet machine and with a stranger that burns one core.

    python benchmarks/encoder.py [--rounds 5]

Each row is a process of its own that computes when it is told to; rounds go through all of them, quiet and under the
stranger in turn, and medians are shown. "keeps" is what is left of the quiet speed under the stranger: on C cores a
fair scheduler leaves (C - 0.5) / C of it at worst, and what is far below has collapsed (threads that wait for each
other by spinning). Run it on a machine with nothing else to do.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from inference import backends
from inference.address import Address
from inference.catalogue import DEFAULT_BASE, bases
from inference.settings import Settings
from inference.trial import SHAPES, Contestant

Row = tuple[str, str, int]  # backend, precision, threads


@contextlib.contextmanager
def stranger() -> Iterator[None]:
    """Another process that takes one core."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measure(rows: list[Row], rounds: int, seconds: float) -> dict[tuple[Row, bool, int], float]:
    """Rows per second by row, whether under the stranger, and place in `SHAPES`."""
    found: dict[tuple[Row, bool, int], list[float]] = {}
    with contextlib.ExitStack() as stack:
        running: dict[Row, Contestant] = {}
        for name, precision, threads in rows:
            settings = Settings(Address.parse("unix:/none"), threads=threads, device="cpu")
            folder: Path = bases()[DEFAULT_BASE].folder
            contestant = stack.enter_context(Contestant(name, [precision], settings, folder, None))
            if contestant.prepare():
                running[name, precision, threads] = contestant
            else:
                print(f"{name} {precision}: {contestant.problem}")
        for turn in range(rounds):
            for busy in (False, True) if turn % 2 else (True, False):
                with stranger() if busy else contextlib.nullcontext():
                    for row, contestant in running.items():
                        for place in range(len(SHAPES)):
                            rate = contestant.measure(row[1], place, seconds)
                            found.setdefault((row, busy, place), []).append(rate)
    return {key: statistics.median(rates) for key, rates in found.items()}


def show(found: dict[tuple[Row, bool, int], float]) -> None:
    heads = [f"{rows}x{tokens}" for rows, tokens in SHAPES]
    print(f"{'backend':<13}{'precision':<10}{'threads':>7}", *(f"{head:>9}{'keeps':>7}" for head in heads))
    best = {place: max(rate for (_, busy, p), rate in found.items() if p == place and not busy) for place in range(3)}
    for row in dict.fromkeys(row for row, _, _ in found):
        cells = []
        for place in range(len(SHAPES)):
            quiet = found[row, False, place]
            cells.append(f"{quiet:>9.0f}{found[row, True, place] / quiet:>7.2f}")
        share = [f"{found[row, False, place] / best[place]:.2f}" for place in range(len(SHAPES))]
        print(f"{row[0]:<13}{row[1]:<10}{row[2] or 'own':>7}", *cells, "  of the best:", " / ".join(share))
    print(f"load average at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON as well")
    arguments = parser.parse_args()
    cores = backends.cores()
    rows = [
        (name, precision, threads)
        for name in backends.installed()
        for precision in backends.PRECISIONS[name]
        for threads in dict.fromkeys((0, 1, cores))  # 0: what the engine takes
    ]
    found = measure(rows, arguments.rounds, arguments.seconds)
    show(found)
    if arguments.json:
        print(json.dumps([[*row, busy, SHAPES[place], rate] for (row, busy, place), rate in found.items()]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
