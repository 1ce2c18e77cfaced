"""What this machine can do at most: products of matrices, and bytes read from memory. Tables are read by it.

    python benchmarks/machine.py [--threads 1]

In a process of its own, which does nothing while nobody asks it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass

SCRIPT = """
import sys, time, torch
torch.set_num_threads(int(sys.argv[1]))
square, much = torch.randn(1536, 1536).bfloat16(), torch.randn(64 << 20)
def best(work, times):
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
with torch.inference_mode():
    for _ in sys.stdin:
        flops = 2 * 1536 ** 3 / best(lambda: square @ square, 6)
        print(flops, much.nbytes / best(much.sum, 3), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Speed:
    """Floating point operations in bf16 and bytes of memory read, both a second."""

    flops: float
    read: float

    def writing(self, body: int, head: int, texts: int, prompt: int, new: int) -> float:
        """Tokens a second of a base in bf16 that does nothing but its products: prompts as one, with the head after
        their last tokens, then a token for each text at a time, for which all weights are read once."""
        whole = body + head
        read = 2 * texts * (body * prompt + head) / self.flops
        step = max(2 * whole / self.read, 2 * whole * texts / self.flops)
        return texts * new / (read + (new - 1) * step)


class Machine:
    """Measures when asked, on so many threads."""

    def __init__(self, threads: int) -> None:
        command = [sys.executable, "-c", SCRIPT, str(threads)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def measure(self) -> Speed:
        """What it does now, with whatever else runs."""
        print(file=self._process.stdin, flush=True)
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError("the measuring process ended")
        return Speed(*map(float, line.split()))

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait(30)


def encoder_flops(folder: str, lengths: list[int]) -> float:
    """Operations of a BERT for a text, on average over texts of so many tokens, without its head."""
    import json
    from pathlib import Path

    config = json.loads((Path(folder) / "config.json").read_text())
    hidden, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    each = [2 * n * layers * (4 * hidden**2 + 2 * hidden * inner) + 4 * n * n * layers * hidden for n in lengths]
    return sum(each) / len(each)


def main() -> None:
    """Print both figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    machine = Machine(parser.parse_args().threads)
    speed = machine.measure()
    machine.close()
    print(f"{speed.flops / 1e9:.0f} Gflop/s in bf16, {speed.read / 1e9:.1f} GB/s read; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
