"""An operator's base that writes text, in the catalogue of this process."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inference.chat import OPTIONAL_FILES
from registry.bases import FILES, catalogue
from tests.training.lab.causal_bases import CHATML, tiny_llama

BASE = "tiny-llama"


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with a chat template, made once."""
    return tiny_llama(tmp_path_factory.mktemp("bases") / BASE, template=CHATML)


@pytest.fixture
def writing_base(llama_folder: Path, tmp_path: Path, settings: Any) -> Iterator[str]:
    """The name of a base for text-generation, beside those that come with the installation."""
    list_bases(tmp_path, settings, {BASE: {"folder": str(llama_folder), "max_length": 256}})
    yield BASE
    catalogue.cache_clear()


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
