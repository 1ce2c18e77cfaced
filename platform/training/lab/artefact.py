"""The artefact: everything a registry keeps and an engine needs, as one folder of safetensors and JSON.

artefact.json         format, task, base, method, labels, max_length, pooling, temperature, lora, files
head.safetensors      weight [C, H], bias [C]
adapter.safetensors   lora only: layers.{i}.{target}.A [rank, in], .B [out, rank]; of a base that goes through
                      transformers, `lora.targets` are module paths and the tensors {module path}.A and .B
encoder.safetensors   full only: the encoder's state dict by its Hugging Face names
parity.json           up to 32 texts and their probabilities from this process, in fp32
neighbours.safetensors  vectors F16 [N, H] of length one, rows I64 [N] and labels I32 [N] of training rows, all or a
                      sample: what explanations name as nearest. The rows' texts stay in the dataset
report.json config.json metrics.jsonl

A model that writes has no labels and no head, and its parity.json holds up to 16 rows as
{"tokens": ids, "start": k, "logprobs": of ids[k:], each given all before it}.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from inference.artefact import NEIGHBOURS
from training.lab.config import Config
from training.lab.files import inventory, whole_folder, write_json, write_lines, write_tensors
from training.lab.plan import Plan

FORMAT = 1
PARITY_TEXTS = 32


@dataclass(frozen=True, slots=True)
class Parts:
    """What goes into an artefact. Shapes: C labels, N test rows."""

    labels: list[str]
    max_length: int
    temperature: float
    head: dict[str, Tensor]
    encoder_files: dict[str, dict[str, Tensor]]
    lora_targets: list[str]
    texts: list[str]
    probabilities: NDArray[np.float64]  # [N, C]
    report: dict[str, Any]
    history: list[dict[str, Any]]
    neighbours: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Adapter:
    """What goes into the artefact of a model that writes: an adapter on its base, and nothing else."""

    max_length: int
    tensors: dict[str, Tensor]
    targets: list[str]
    sequences: list[dict[str, Any]]
    report: dict[str, Any]
    history: list[dict[str, Any]]


def write(folder: Path, config: Config, plan: Plan, parts: Parts) -> None:
    """Write the folder whole; an artefact of an earlier attempt there is replaced."""
    with whole_folder(folder) as draft:
        write_tensors(draft / "head.safetensors", parts.head)
        write_tensors(draft / NEIGHBOURS, parts.neighbours)
        for name, tensors in parts.encoder_files.items():
            write_tensors(draft / name, tensors)
        write_json(draft / "parity.json", _parity(parts))
        description = _description(config, parts.max_length, parts.lora_targets)
        description |= {"labels": parts.labels, "temperature": parts.temperature}
        _finish(draft, config, plan, parts, description)


def write_adapter(folder: Path, config: Config, plan: Plan, adapter: Adapter) -> None:
    """The same for a model that writes."""
    with whole_folder(folder) as draft:
        write_tensors(draft / "adapter.safetensors", adapter.tensors)
        write_json(draft / "parity.json", {"sequences": adapter.sequences})
        description = _description(config, adapter.max_length, adapter.targets) | {"pooling": "none"}
        _finish(draft, config, plan, adapter, description)


def _finish(draft: Path, config: Config, plan: Plan, parts: Parts | Adapter, description: dict[str, Any]) -> None:
    """What every artefact has, and last the list of all files."""
    write_json(draft / "report.json", parts.report)
    write_json(draft / "config.json", {"config": config.to_json(), "plan": plan.to_json()})
    write_lines(draft / "metrics.jsonl", parts.history)
    write_json(draft / "artefact.json", description | {"files": inventory(draft)})


def _description(config: Config, max_length: int, targets: list[str]) -> dict[str, Any]:
    lora = {"rank": config.lora_rank, "alpha": config.lora_alpha, "targets": targets}
    return {
        "format": FORMAT,
        "task": config.task,
        "base": config.base_name,
        "method": config.method,
        "labels": [],
        "max_length": max_length,
        "pooling": "mean",
        "temperature": 1.0,
        "lora": lora if config.method == "lora" else None,
    }


def _parity(parts: Parts) -> dict[str, Any]:
    """Texts spread over the test rows, so that short and long, sure and unsure ones are among them."""
    count = min(PARITY_TEXTS, len(parts.texts))
    chosen = np.unique(np.linspace(0, len(parts.texts) - 1, count).round().astype(int))
    return {
        "texts": [parts.texts[i] for i in chosen],
        "probabilities": [[round(float(p), 8) for p in parts.probabilities[i]] for i in chosen],
    }
