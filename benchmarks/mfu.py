"""How fast the lab's training steps are on this device: tokens/s, and the share of its arithmetic that they use (MFU).

    python benchmarks/mfu.py [--shapes minilm base large] [--steps 30] [--device cuda] [--methods full lora]

Bases of random weights in the shapes of all-MiniLM-L6-v2, BERT base and BERT large, random tokens, the real loop:
gradients, clipping, update, the guard's looks. MFU counts what the model needs and nothing that is done twice or
wasted (Chowdhery et al. 2022, appendix B): full tuning 6 N + 12 L·layers·H FLOP a token, LoRA 4 N + 8 L·layers·H, with
N the matrix weights, L the tokens a row, H the hidden size. It is given over the chip's dense bf16 peak by its data
sheet, where that is known, and over the largest matrix product measured here.
"""

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "platform")]

SHAPES = {"minilm": (384, 6, 12), "base": (768, 12, 12), "large": (1024, 24, 16)}
"""Hidden size, layers, heads; the intermediate size is four times the hidden one."""
WORDS, POSITIONS, CLASSES = 30_522, 512, 20
BATCHES = ((32, 16), (32, 128), (64, 128), (256, 128), (64, 512))
"""(rows, tokens a row) of a step."""
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}
"""Dense bf16 FLOP/s by the vendors' data sheets."""


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--methods", nargs="+", choices=("full", "lora"), default=["full", "lora"])
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--precision", choices=("auto", "bf16", "fp32"), default="auto")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batches", nargs="+", type=lambda word: tuple(map(int, word.split("x"))), default=BATCHES)
    options = parser.parse_args()
    from training.lab.__main__ import prepare_process

    prepare_process()
    import torch

    cuda = options.device != "cpu" and torch.cuda.is_available()
    name = torch.cuda.get_device_name() if cuda else "CPU"
    product = largest_product("cuda" if cuda else "cpu")
    peak = next((value for word, value in PEAKS.items() if word in name), product)
    print(f"{name}: torch {torch.__version__}, matrix product {product / 1e12:.4g} TFLOP/s, peak {peak / 1e12:.4g}")
    print("shape  method | rows x length |  ms a step | tokens/s | TFLOP/s |   MFU | of the product | MiB at most")
    with tempfile.TemporaryDirectory() as folder:
        for shape in options.shapes:
            base = random_base(shape, Path(folder) / shape)
            for method in options.methods:
                for rows, length in options.batches:
                    _row(base, shape, method, rows, length, options, peak, product)
    return 0


def _row(
    base: Path, shape: str, method: str, rows: int, length: int, options: argparse.Namespace, peak: float, most: float
) -> None:
    import torch

    torch.cuda.reset_peak_memory_stats() if torch.cuda.is_available() else None
    seconds = step_seconds(base, method, rows, length, options)
    speed = flop(shape, method, length) * rows * length / seconds
    used = torch.cuda.max_memory_allocated() >> 20 if torch.cuda.is_available() else 0
    print(
        f"{shape:6} {method:6} | {rows:4} x {length:6} | {1e3 * seconds:10.2f} | {rows * length / seconds:8.3g} |"
        f" {speed / 1e12:7.3g} | {speed / peak:5.1%} | {speed / most:14.1%} | {used:6}",
        flush=True,
    )


def step_seconds(base: Path, method: str, rows: int, length: int, options: argparse.Namespace) -> float:
    """Median seconds of a step of the loop, after a warm-up."""
    import numpy as np
    import torch

    from training.lab import loop as loops
    from training.lab.config import config_from
    from training.lab.data import Encoded
    from training.lab.device import place_for
    from training.lab.events import Emitter
    from training.lab.learners import EncoderLearner
    from training.lab.plan import plan_for

    with tempfile.TemporaryFile("w") as said, tempfile.TemporaryDirectory() as output:
        config = config_from(
            {"task": "text-classification", "data": "none", "base": str(base), "base_name": base.name, "method": method}
            | {"output": output, "device": options.device, "precision": options.precision, "batch_size": rows}
            | {"token_budget": max(64, rows * length), "learning_rate": 1e-5, "checkpoint_seconds": 86_400.0}
        )
        count = rows * (options.steps + 8)
        tokens = np.random.default_rng(1).integers(1, WORDS, count * length).astype(np.int32)
        encoded = Encoded(tokens, np.arange(count + 1) * length, cut=0)
        plan, targets = plan_for(config, train_rows=count), np.zeros(count, dtype=np.int64)
        learner = EncoderLearner(config, plan, place_for(config), {"train": encoded}, CLASSES)
        loop = loops.Loop(
            learner,
            loops.Targets(targets, targets[:1], CLASSES, None),
            config,
            plan,
            spec="",
            emit=Emitter(said),
            stop=Never(),
        )
        marks = []
        for step in loop.turns():
            if learner.place.device.type == "cuda":
                torch.cuda.synchronize()
            marks.append(time.perf_counter())
            if len(marks) > options.steps + 5:
                break
            step.compute()
    return statistics.median(after - before for before, after in itertools.pairwise(marks[5:]))


class Never:
    """Nobody asks it to stop."""

    requested = False


def flop(shape: str, method: str, length: int) -> float:
    """What a token needs, forward and backward."""
    hidden, layers, _ = SHAPES[shape]
    weights = layers * 12 * hidden**2
    return {"full": 6.0, "lora": 4.0}[method] * (weights + 2 * layers * length * hidden)


def random_base(shape: str, folder: Path) -> Path:
    """A base folder of a shape, with random weights; it has no tokenizer."""
    import torch
    from safetensors.torch import save_file

    hidden, layers, heads = SHAPES[shape]
    config: dict[str, Any] = {"model_type": "bert", "architectures": ["BertModel"], "hidden_act": "gelu"}
    config |= {"vocab_size": WORDS, "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads}
    config |= {"intermediate_size": 4 * hidden, "max_position_embeddings": POSITIONS, "type_vocab_size": 2}
    config |= {"layer_norm_eps": 1e-12, "hidden_dropout_prob": 0.1}
    sizes = {"embeddings.word_embeddings": (WORDS, hidden), "embeddings.position_embeddings": (POSITIONS, hidden)}
    sizes |= {"embeddings.token_type_embeddings": (2, hidden), "embeddings.LayerNorm": (hidden,)}
    for number in range(layers):
        stem = f"encoder.layer.{number}."
        square = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")
        sizes |= {stem + name: (hidden, hidden) for name in square}
        sizes |= {stem + "intermediate.dense": (4 * hidden, hidden), stem + "output.dense": (hidden, 4 * hidden)}
        sizes |= {stem + name: (hidden,) for name in ("attention.output.LayerNorm", "output.LayerNorm")}
    torch.manual_seed(1)
    tensors = {}
    for name, size in sizes.items():
        tensors[f"{name}.weight"] = torch.randn(size) * 0.02 if len(size) == 2 else torch.ones(size)
        if "embeddings" not in name.rsplit(".", 1)[-1]:
            tensors[f"{name}.bias"] = torch.zeros(size[0])
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors")
    return folder


def largest_product(device: str) -> float:
    """FLOP/s of a large product on random numbers (bf16 on a GPU, fp32 elsewhere), the best of eight."""
    import torch

    size, kind = (8192, torch.bfloat16) if device == "cuda" else (1024, torch.float32)
    left, right = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    best = float("inf")
    for _ in range(8):
        begun = time.perf_counter()
        left @ right
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - begun)
    return 2 * size**3 / best


if __name__ == "__main__":
    sys.exit(main())
