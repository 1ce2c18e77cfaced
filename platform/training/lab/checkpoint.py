"""Resumable states of a run: complete, verified, and the last two kept.

    checkpoints/step-00000120/
        manifest.json          format, step, spec, sha256 and size of each file, and a digest of all that
        state.json             cursor, counters, evaluations so far
        history.json           step and evaluation events so far
        weights.safetensors    trained parameters
        best.safetensors       those of the best evaluation (absent before the first)
        optimiser.safetensors  Adam's moments
        random.safetensors     random number generators

`spec` is a hash of everything that shapes the result (config, plan, data, base): a checkpoint of another run is
refused. A damaged checkpoint is passed over for the one before it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from training.lab.config import Config
from training.lab.errors import BadData
from training.lab.files import inventory, sha256_of, whole_folder, write_json, write_tensors
from training.lab.plan import Plan

FORMAT = 1
KEPT = 2
ELSEWHERE = ("output", "resume", "data", "base", "threads", "checkpoint_seconds", "raised_steps")
"""What may differ on resuming."""
_DOCUMENTS = ("state", "history")


@dataclass(slots=True)
class Checkpoint:
    """What is needed to go on: JSON documents and groups of tensors by name."""

    step: int
    state: dict[str, Any]
    history: list[dict[str, Any]]
    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """A good checkpoint, and the damaged ones passed over on the way to it."""

    checkpoint: Checkpoint | None
    damaged: list[str]


def spec_of(config: Config, plan: Plan, *, precision: str) -> str:
    """Hash of everything that shapes the result: a checkpoint fits only a run with the same one."""
    shaping: dict[str, Any] = {key: value for key, value in config.to_json().items() if key not in ELSEWHERE}
    if config.gpus == 1:
        del shaping["gpus"]  # checkpoints from before there were several
    shaping["plan"] = plan.to_json()
    shaping["precision"] = precision
    shaping["data_sha256"] = sha256_of(Path(config.data))
    shaping["base_sha256"] = sha256_of(Path(config.base) / "model.safetensors")
    return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()


def write(root: Path, checkpoint: Checkpoint, *, spec: str) -> tuple[Path, str]:
    """Write a checkpoint under `root` and drop all but the last two. Returns its folder and the manifest's hash."""
    target = root / f"step-{checkpoint.step:08d}"
    with whole_folder(target) as draft:
        write_json(draft / "state.json", checkpoint.state)
        write_json(draft / "history.json", checkpoint.history)
        for name, tensors in checkpoint.tensors.items():
            write_tensors(draft / f"{name}.safetensors", tensors)
        manifest = {"format": FORMAT, "step": checkpoint.step, "spec": spec, "files": inventory(draft)}
        write_json(draft / "manifest.json", manifest | {"digest": _digest(manifest)})
        digest = hashlib.sha256((draft / "manifest.json").read_bytes()).hexdigest()
    for old in _steps(root)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return target, digest


def find(path: Path, *, spec: str) -> Found:
    """The newest good checkpoint at `path` (one checkpoint, or a folder of them), else an older sibling.

    Raises BadData when `path` holds no checkpoint at all, or a good one belongs to another run.
    """
    single = path.name.startswith("step-")
    candidates = [one for one in _steps(path.parent) if one.name <= path.name] if single else _steps(path)
    if not candidates:
        raise BadData("The checkpoint to resume from does not exist.")
    damaged: list[str] = []
    for folder in candidates:
        try:
            checkpoint = _read(folder, spec)
        except (OSError, ValueError, KeyError) as error:
            damaged.append(f"{folder.name}: {str(error)[:200]}")
            continue
        return Found(checkpoint, damaged)
    return Found(None, damaged)


def _digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _steps(root: Path) -> list[Path]:
    """Checkpoint folders, newest first."""
    if not root.is_dir():
        return []
    return sorted((path for path in root.iterdir() if path.is_dir() and path.name.startswith("step-")), reverse=True)


def _read(folder: Path, spec: str) -> Checkpoint:
    """Verify every byte, then load. ValueError, OSError or KeyError: damaged."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    if manifest.pop("digest") != _digest(manifest):
        raise ValueError("the manifest does not match its own digest")
    if manifest["format"] != FORMAT:
        raise ValueError(f"unknown format {manifest['format']!r}")
    present = inventory(folder)
    present.pop("manifest.json", None)
    if present != manifest["files"]:
        broken = sorted(name for name in manifest["files"] if present.get(name) != manifest["files"][name])
        raise ValueError(f"{', '.join(broken) or 'an extra file'} does not match the manifest")
    if manifest["spec"] != spec:
        raise BadData("The checkpoint belongs to a run with another configuration, data or base.")
    state, history = (json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in _DOCUMENTS)
    names = [name.removesuffix(".safetensors") for name in present if name.endswith(".safetensors")]
    tensors = {name: load_file(folder / f"{name}.safetensors") for name in names}
    return Checkpoint(step=manifest["step"], state=state, history=history, tensors=tensors)
