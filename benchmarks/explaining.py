"""How long an explanation takes, and how well it finds the words that decide, against hiding each word once.

    python benchmarks/explaining.py [--words 9 33 150 350] [--texts 12] [--precision fp32]

A head is trained on `examples/support_intents.csv`; texts are its sentences, several joined for the longer ones. The
engine is a process of its own. `flat` leaves out up to 64 equal pieces of at most about 8,192 tokens at once, as
explanations did before they searched; `search` is what they do (`evaluation/occlusion.py`). Both explain each text in
turn, so that a busy neighbour hits them alike. `every word` hides each word of texts up to 200 words by itself: that is
the truth, and `found` says of how many texts with a decisive word (the largest effect, where it is 0.05 or more) that
word lies in the piece with the largest effect; `piece` is how many words that piece has.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from product import ROOT, running

from evaluation.occlusion import Search, _Held, effects, most_readings, without

LIMIT = 512
DECIDES = 0.05
TRUTH = "every word"
MOST_TRUE = 200
"""Words of a text at most whose every word is hidden: more take minutes."""


@dataclass
class Explained:
    """What one explanation took, and its pieces as (first character, the one after the last, words, effect)."""

    seconds: float
    tokens: int
    readings: int
    pieces: list[tuple[int, int, int, float]]

    @property
    def best(self) -> tuple[int, int, int, float]:
        return max(self.pieces, key=lambda one: one[3])


class Reader:
    """The engine with the trained head in it."""

    def __init__(self, client: Any, model: str) -> None:
        self.client, self.model = client, model
        self.tokens = 0

    def __call__(self, texts: list[str]) -> list[list[float]]:
        found = self.client.classify(tenant="bench", model=self.model, texts=texts)
        self.tokens += sum(min(length, found.limit) for length in found.lengths)
        flat = array("f", found.probabilities).tolist()
        return [flat[start : start + found.width] for start in range(0, len(flat), found.width)]


def explained(reader: Reader, search: Search) -> Explained:
    """Follow a search to its end."""
    reader.tokens, began = 0, time.perf_counter()
    text = search.text
    whole, *left = reader([text, *(without(text, span) for span in search.ask())])
    best = max(range(len(whole)), key=whole.__getitem__)
    search.tell(effects(whole[best], [row[best] for row in left]))
    while spans := search.ask():
        left = reader([without(text, span) for span in spans])
        search.tell(effects(whole[best], [row[best] for row in left]))
    pieces = [(one.span.start, one.span.end, one.words, one.effect) for one in search.pieces]
    return Explained(time.perf_counter() - began, reader.tokens, search.readings, pieces)


class Flat(Search):
    """One round of equal pieces."""

    def _first(self) -> list[Any]:
        count = len(self._words)
        return _Held(0, count).parts(min(count, self._most)) if count else []

    def _next(self) -> list[Any]:
        return []


def flat(text: str) -> Search:
    """64 pieces, fewer of long texts: 8,192 tokens."""
    tokens = min(len(text) // 4 + 2, LIMIT)
    return Flat(text, max(8, min(64, 8192 // tokens)))


WAYS: dict[str, Callable[[str], Search]] = {
    "flat": flat,
    "search": lambda text: Search(text, most_readings(text, LIMIT)),
    TRUTH: lambda text: Flat(text, 10**6),
}


def trained(folder: Path) -> tuple[Path, str]:
    """The artefact of a head on the example's rows, and its manifest's hash."""
    import hashlib

    from inference.catalogue import DEFAULT_BASE, bases
    from tests.training.lab.conftest import write_rows
    from tests.training.lab.runs import train_here

    rows = list(csv.DictReader((ROOT / "examples" / "support_intents.csv").open()))
    splits = ["train", "train", "train", "validation", "test"]
    data = write_rows(
        folder / "rows.parquet", [(row["text"], row["label"], splits[n % 5]) for n, row in enumerate(rows)]
    )
    base = bases()[DEFAULT_BASE]
    config = {"task": "text-classification", "base": str(base.folder), "base_name": base.name, "data": str(data)}
    config |= {"method": "head", "output": str(folder / "out"), "epochs": 30, "batch_size": 32, "learning_rate": 1e-2}
    events = train_here(config | {"bootstrap": 100, "max_length": LIMIT})
    artefact = folder / "out" / "artefact"
    if not (artefact / "artefact.json").exists():
        raise RuntimeError(f"the head was not trained: {events[-1]}")
    return artefact, hashlib.sha256((artefact / "artefact.json").read_bytes()).hexdigest()


def made_texts(words: int, count: int) -> list[str]:
    """Texts of about so many words."""
    rows = [row["text"] for row in csv.DictReader((ROOT / "examples" / "support_intents.csv").open())]
    rng, found = random.Random(words), []
    while len(found) < count:
        text = rng.choice(rows)
        while len(text.split()) < words:
            text = f"{text} {rng.choice(rows)}"
        found.append(" ".join(text.split()[:words]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", type=int, nargs="+", default=[9, 33, 150, 350])
    parser.add_argument("--texts", type=int, default=12)
    parser.add_argument("--precision", default="fp32")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        artefact, sha256 = trained(folder)
        address, token = f"unix://{folder}/engine.sock", "bench"
        command = [sys.executable, "-m", "inference", "--listen", address, "--precision", options.precision]
        with running(command, TUNESMITH_ENGINE_TOKEN=token) as process, until_open(address, token, process) as client:
            client.load(tenant="bench", model="m", folder=str(artefact), sha256=sha256)
            reader = Reader(client, "m")
            print(f"load average {os.getloadavg()[0]:.1f}; {options.texts} texts each, medians")
            print(f"{'words':>6} {'way':<11} {'s':>7} {'tokens':>7} {'readings':>9} {'found':>6} {'piece':>6}")
            for words in options.words:
                compare(reader, words, options.texts)


def until_open(address: str, token: str, process: subprocess.Popen[bytes]) -> Any:
    """A client of an engine that has just been started."""
    from inference.client import BlockingClient
    from inference.errors import Unavailable

    deadline = time.monotonic() + 120
    while True:
        try:
            with BlockingClient(address, token) as probe:
                probe.health()
            return BlockingClient(address, token)
        except Unavailable:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def compare(reader: Reader, words: int, count: int) -> None:
    """Explain every text in each way, and print the medians."""
    seen: dict[str, list[Explained]] = {way: [] for way in WAYS}
    for text in made_texts(words, count):
        for way, search in WAYS.items():
            if way != TRUTH or words <= MOST_TRUE:
                seen[way].append(explained(reader, search(text)))
    truth = [one.best for one in seen[TRUTH]]
    for way, runs in seen.items():
        if not runs:
            continue
        judged = [(one.best, true) for one, true in zip(runs, truth, strict=bool(truth)) if true[3] >= DECIDES]
        found = sum(low <= true[0] and true[1] <= high for (low, high, _, _), true in judged)
        print(
            f"{words:>6} {way:<11} {statistics.median(one.seconds for one in runs):>7.3f}"
            f" {statistics.median(one.tokens for one in runs):>7.0f}"
            f" {statistics.median(one.readings for one in runs):>9.0f}"
            f" {f'{found}/{len(judged)}':>6} {statistics.median(one.best[2] for one in runs):>6.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
