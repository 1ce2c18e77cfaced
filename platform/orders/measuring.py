"""The learning curve of the cheap baseline on a data sample, in a process of its own (`python -m orders.measuring`).

No Django: it reads a customer's file. A fifth of the rows is held out in each of three repeats, and the floor that
every report stands beside (`training.lab.baseline`) learns from a sixteenth of the rest, an eighth, and so on up to
all of it.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from data.columns import LABEL, TEXT, resolve
from data.columns import detect as roles_in
from data.example import scalar
from data.findings import Collector
from data.formats import Limits, open_source
from data.guard import cap_memory
from evaluation.metrics import macro_f1
from training.lab.baseline import fit_floor

MOST_ROWS = 5_000
FEWEST_ROWS = 160
REPEATS = 3
SHARES = (16, 8, 4, 2, 1)
SEED = 7


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """{"rows", "labels", "majority", "points": [{"rows", "values"}]}, or {"refused": why}."""
    texts, labels = _rows(Path(request["path"]), request.get("mapping"))
    names = sorted(set(labels))
    if len(texts) < FEWEST_ROWS:
        return {"refused": f"The sample has {len(texts)} rows with a text and a label; {FEWEST_ROWS} are needed."}
    if len(names) < 2:
        return {"refused": "The sample has one label only."}
    targets = np.asarray([names.index(label) for label in labels], dtype=np.int64)
    points: dict[int, list[float]] = {}
    for repeat in range(REPEATS):
        order = np.random.default_rng(SEED + repeat).permutation(len(texts))
        held, rest = order[: len(order) // 5], order[len(order) // 5 :]
        for share in SHARES:
            taken = rest[: len(rest) // share]
            floor = fit_floor(
                [texts[int(i)] for i in taken], targets[taken], [texts[int(i)] for i in held], seed=SEED + repeat
            )
            points.setdefault(len(taken), []).append(macro_f1(targets[held], floor.predicted, len(names)))
    most = float(np.bincount(targets).max() / len(targets))
    told = [{"rows": rows, "values": values} for rows, values in sorted(points.items())]
    return {"rows": len(texts), "labels": len(names), "majority": most, "points": told}


def _rows(path: Path, mapping: dict[str, str] | None) -> tuple[list[str], list[str]]:
    """Texts and labels of the first rows that have both."""
    source = open_source(path, Collector(), limits=Limits())
    texts: list[str] = []
    labels: list[str] = []
    if source is None:
        return texts, labels
    rows = list(zip(source.rows(), range(MOST_ROWS), strict=False))
    roles = resolve(roles_in(source.columns, [row for row, _ in rows[:500]]), mapping)
    if roles is None or roles.get(TEXT) is None or roles.get(LABEL) is None:
        return texts, labels
    for row, _ in rows:
        text, label = (scalar(row.values.get(roles.columns[role])) for role in (TEXT, LABEL))
        if text and label:
            texts.append(text)
            labels.append(label)
    return texts, labels


def main(argv: list[str]) -> int:
    """Measure what the request file asks for and print the JSON result."""
    request = json.loads(Path(argv[1]).read_text(encoding="utf-8"))
    cap_memory(request.get("memory_bytes"))
    json.dump(answer(request), sys.stdout)
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv))
