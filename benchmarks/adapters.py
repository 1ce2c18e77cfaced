"""One model against many tenants' models mixed in the same batches, on one engine process and one base.

    python benchmarks/adapters.py [--rounds 3] [--seconds 3] [--callers 32] [--many 32,256] [--ranks 8]

For heads and for LoRA with heads of different label counts, with several ranks (`--ranks 8,16,32`) one after the other
among the models, so that they meet in batches: texts a second with one model and with each
number of models, callers picking among them at random, in turns; and what a further tenant's model takes: the engine's
own count of bytes, and the process's resident memory over the number of models. `merged` says whether the engine
had a copy of the base with the one adapter merged into it (`inference.hot`), which no mixture can have.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from product import texts

from inference.client import EngineClient
from inference.wire import MERGED
from tests.inference.artefacts import make
from tests.inference.conftest import TOKEN, running

METHODS = ("head", "lora")


def resident_bytes(pid: int) -> int:
    """Memory of a process that is its own."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel does not tell")


async def load(client: EngineClient, folders: list[Path], method: str, start: int, stop: int) -> int:
    """Bring models in; the engine's count of their bytes."""
    total = 0
    for place in range(start, stop):
        described = await client.load(
            tenant=f"t{place}", model=f"{method}{place}", sha256=sha_of(folders[place]), folder=str(folders[place])
        )
        total += described.bytes
    return total


def sha_of(folder: Path) -> str:
    return hashlib.sha256((folder / "artefact.json").read_bytes()).hexdigest()


async def press(client: EngineClient, method: str, models: int, callers: int, seconds: float) -> float:
    """Texts a second."""
    sentences, done, end = texts(200), 0, time.perf_counter() + seconds

    async def caller(seed: int) -> None:
        nonlocal done
        rng = random.Random(seed)
        while time.perf_counter() < end:
            place = rng.randrange(models)
            await client.classify(tenant=f"t{place}", model=f"{method}{place}", texts=[rng.choice(sentences)])
            done += 1

    begun = time.perf_counter()
    await asyncio.gather(*(caller(seed) for seed in range(callers)))
    return done / (time.perf_counter() - begun)


async def measure(address: str, pid: int, home: Path, arguments: argparse.Namespace) -> None:
    many = [int(count) for count in arguments.many.split(",")]
    ranks = [int(rank) for rank in arguments.ranks.split(",")]
    client = EngineClient(address, TOKEN, timeout=120)
    print(f"{'method':<8}{'models':>8}{'texts/s':>10}{'kept':>8}{'merged':>8}{'bytes/model':>13}{'memory/model':>14}")
    for method in METHODS:
        folders = [
            make(
                home / f"{method}{place}",
                method,
                labels=2 + place % 60,
                seed=place,
                rank=ranks[place % len(ranks)],
                max_length=256,
            ).folder
            for place in range(max(many))
        ]
        await load(client, folders, method, 0, 1)
        await press(client, method, 1, arguments.callers, 2.0)
        before = resident_bytes(pid)
        counted = await load(client, folders, method, 1, max(many))
        grown = resident_bytes(pid) - before
        speeds: dict[int, list[float]] = {count: [] for count in (1, *many)}
        merged: dict[int, bool] = {}
        for turn in range(arguments.rounds):
            for count in list(speeds) if turn % 2 else list(speeds)[::-1]:
                await press(client, method, count, arguments.callers, 1.5)  # what is hot changes with the load
                speeds[count].append(await press(client, method, count, arguments.callers, arguments.seconds))
                residents = (await client.health(timeout=30)).residents
                merged[count] = any(one.model.endswith(MERGED) for one in residents)
        alone = statistics.median(speeds[1])
        for count, found in speeds.items():
            rate = statistics.median(found)
            print(
                f"{method:<8}{count:>8}{rate:>10.0f}{rate / alone:>8.2f}{'yes' if merged[count] else 'no':>8}"
                f"{counted // (max(many) - 1):>13,}{grown // (max(many) - 1):>14,}"
            )
    await client.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--many", default="32,256", help="numbers of models")
    parser.add_argument("--ranks", default="8", help="of the adapters, in turn")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as home, running() as started:
        asyncio.run(measure(started.address, started.process.pid, Path(home), arguments))
    print(f"load average at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return 0


if __name__ == "__main__":
    sys.exit(main())
