"""Adapters for a causal base: as arrays, as an artefact's folder, and merged into the base for a reference."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from inference.adapters import Adapter
from tests.late import late

torch, transformers = late("torch"), late("transformers")


def adapter(model: Any, *, rank: int, seed: int, only: str = "") -> Adapter:
    """A random adapter on the linear layers of a model, or on those whose name holds `only`."""
    rng = np.random.default_rng(seed)
    down, up = {}, {}
    for name, module in model.named_modules():
        if ".layers." in f".{name}." and hasattr(module, "in_features") and only in name:
            down[0, name] = rng.normal(0, 0.2, (rank, module.in_features)).astype(np.float32)
            up[0, name] = rng.normal(0, 0.2, (module.out_features, rank)).astype(np.float32)
    return Adapter(rank, down, up)


def merged(folder: Path, adapted: Adapter | None) -> Any:
    """The library's own model with an adapter inside its weights."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    if adapted is not None:
        with torch.no_grad():
            for (_, name), down in adapted.down.items():
                model.get_submodule(name).weight += torch.from_numpy(adapted.up[0, name] @ down)
    return model


def greedy(model: Any, prompt: list[int], count: int) -> list[int]:
    """What the library writes after a prompt, whatever ends a text."""
    model.generation_config.eos_token_id = None
    with torch.inference_mode():
        ids = model.generate(torch.tensor([prompt]), max_new_tokens=count, do_sample=False, pad_token_id=1)
    found: list[int] = ids[0, len(prompt) :].tolist()
    return found


def artefact(folder: Path, adapted: Adapter, *, base: str, max_length: int = 128, **changes: Any) -> str:
    """Write what training leaves behind; returns the hash that vouches for it."""
    folder.mkdir(parents=True)
    tensors = {f"{name}.A": down for (_, name), down in adapted.down.items()}
    tensors |= {f"{name}.B": adapted.up[0, name] for _, name in adapted.up}
    save_file(tensors, folder / "adapter.safetensors")
    if (parity := changes.pop("parity", None)) is not None:
        (folder / "parity.json").write_text(json.dumps(parity))
    files = {
        path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
        for path in folder.iterdir()
    }
    lora = {"rank": adapted.rank, "alpha": float(adapted.rank), "targets": [name for _, name in adapted.down]}
    manifest = {
        "format": 1, "task": "text-generation", "base": base, "method": "lora", "labels": [], "pooling": "none",
        "max_length": max_length, "temperature": 1.0, "lora": lora, "files": files,
    } | changes  # fmt: skip
    (folder / "artefact.json").write_text(json.dumps(manifest))
    return hashlib.sha256((folder / "artefact.json").read_bytes()).hexdigest()
