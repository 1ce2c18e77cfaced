"""Makes artefact folders as training leaves them, with random heads, adapters and encoders on the real base."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from inference.catalogue import DEFAULT_BASE, bases
from inference.geometry import Geometry, adapter_shapes

BASE = bases()[DEFAULT_BASE]
GEOMETRY = Geometry.read(BASE.folder / "config.json")


@dataclass(frozen=True)
class Made:
    """A folder on disk, and what is in it, for a reference to compute with."""

    folder: Path
    labels: list[str]
    head: dict[str, np.ndarray]
    encoder: dict[str, np.ndarray]  # the base's weights with the tenant's changes already merged
    temperature: float
    max_length: int

    @property
    def sha256(self) -> str:
        return hashlib.sha256((self.folder / "artefact.json").read_bytes()).hexdigest()


@cache
def base_weights() -> dict[str, np.ndarray]:
    """The base's weights, read once: whoever changes one puts another in its place in a copy of the dict."""
    return load_file(BASE.folder / "model.safetensors")


def make(folder: Path, method: str = "head", *, labels: int = 5, seed: int = 0, rank: int = 8, max_length: int = 64,
         targets: tuple[str, ...] = ("query", "value"), temperature: float = 1.3, task: str = "text-classification",
         pooling: str = "mean", names: list[str] | None = None, dense: bool = False,
         spread: float = 0.5) -> Made:  # fmt: skip
    """Write an artefact. Its parity.json is left out until `record_parity`. `spread` of the head's numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)

    def noise(shape: tuple[int, ...], scale: float) -> np.ndarray:
        return rng.normal(0, scale, shape).astype(np.float32)

    labels = labels if names is None else len(names)
    head = {"weight": noise((labels, GEOMETRY.hidden), spread), "bias": noise((labels,), 0.1)}
    if dense:
        head |= {
            "dense.weight": noise((GEOMETRY.hidden, GEOMETRY.hidden), 0.05),
            "dense.bias": noise((GEOMETRY.hidden,), 0.1),
        }
    if labels:
        save_file(head, folder / "head.safetensors")
    encoder = dict(base_weights())
    lora = None
    if method == "lora":
        lora = {"rank": rank, "alpha": 2.0 * rank, "targets": list(targets)}
        tensors = {key: noise(shape, 0.05) for key, shape in adapter_shapes(GEOMETRY, targets, rank).items()}
        save_file(tensors, folder / "adapter.safetensors")
        for layer in range(GEOMETRY.layers):
            for target in targets:
                down, up = tensors[f"layers.{layer}.{target}.A"], tensors[f"layers.{layer}.{target}.B"]
                name = f"{GEOMETRY.linear(layer, target)}.weight"
                encoder[name] = encoder[name] + 2.0 * up @ down
    if method == "full":
        for layer in range(GEOMETRY.layers):
            name = f"{GEOMETRY.linear(layer, 'query')}.weight"
            encoder[name] = encoder[name] + noise((GEOMETRY.hidden, GEOMETRY.hidden), 0.02)
        save_file(encoder, folder / "encoder.safetensors")
    made = Made(folder, names or [f"label {i}" for i in range(labels)], head, encoder, temperature, max_length)
    write_manifest(made, method, lora)
    rewrite(made, task=task, pooling=pooling, dense="tanh" if dense else "")
    return made


def write_manifest(made: Made, method: str, lora: dict | None) -> None:
    """Write artefact.json over whatever files lie in the folder."""
    files = {}
    for path in sorted(made.folder.iterdir()):
        if path.name != "artefact.json":
            data = path.read_bytes()
            files[path.name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    manifest = {
        "format": 1, "task": "text-classification", "base": DEFAULT_BASE, "method": method, "labels": made.labels,
        "max_length": made.max_length, "pooling": "mean", "temperature": made.temperature, "lora": lora, "files": files,
    }  # fmt: skip
    (made.folder / "artefact.json").write_text(json.dumps(manifest))


def rewrite(made: Made, **changes: object) -> None:
    """Change keys of artefact.json and refresh the list of files."""
    path = made.folder / "artefact.json"
    manifest = json.loads(path.read_text())
    write_manifest(made, manifest["method"], manifest["lora"])
    kept = {name: manifest[name] for name in ("task", "pooling", "dense") if name in manifest}
    manifest = json.loads(path.read_text()) | kept | changes
    path.write_text(json.dumps(manifest))


def record_parity(made: Made, texts: list[str], probabilities: np.ndarray) -> None:
    """Add parity.json."""
    rows = [[float(p) for p in row] for row in probabilities]
    (made.folder / "parity.json").write_text(json.dumps({"texts": texts, "probabilities": rows}))
    rewrite(made)


def record(made: Made, **content: object) -> None:
    """Add the parity.json of another shape."""
    (made.folder / "parity.json").write_text(json.dumps(content))
    rewrite(made)
