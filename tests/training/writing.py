"""An operator's base that writes text, in the catalogue of this process."""

import hashlib
import json
from pathlib import Path
from typing import Any

from inference.chat import OPTIONAL_FILES
from registry.bases import FILES, catalogue

BASE = "tiny-llama"


def list_bases(folder: Path, settings: Any, bases: dict[str, dict[str, Any]], **changes: Any) -> None:
    """A BASES_FILE that pins every file of these bases; `changes` are entries' fields."""
    entries = {}
    for name, entry in bases.items():
        there = [file for file in (*FILES, *OPTIONAL_FILES) if (Path(entry["folder"]) / file).exists()]
        pins = {file: hashlib.sha256((Path(entry["folder"]) / file).read_bytes()).hexdigest() for file in there}
        entries[name] = entry | {"tasks": ["text-generation"], "sha256": pins, "parameters": 40_000} | changes
    (folder / "bases.json").write_text(json.dumps({"bases": entries}))
    settings.BASES_FILE = str(folder / "bases.json")
    catalogue.cache_clear()
