"""Embedding models that sentence-transformers or transformers saved: what is taken, and what is refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inference import importing
from inference.errors import BadArtefact
from tests.inference.artefacts import BASE
from tests.registry.sentences import change, plain, saved, write
from tests.registry.test_importing import saved as head_saved

pytestmark = pytest.mark.slow  # transformers answers what is recorded


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("st") / "theirs")


def taken(folder: Path, target: Path, pooling: str = "") -> dict[str, Any]:
    """The manifest of what the import makes of it."""
    source = importing.read(folder, pooling)
    importing.convert(source, target, BASE, importing.task_of(source))
    manifest: dict[str, Any] = json.loads((target / "artefact.json").read_text())
    assert (manifest["task"], manifest["method"], manifest["labels"]) == ("embeddings", "full", [])
    return manifest


def test_a_folder_of_an_older_version_has_its_encoder_and_its_longest_text_read(tmp_path: Path) -> None:
    found = taken(saved(tmp_path / "theirs", "cls", old=True), tmp_path / "ours")
    assert (found["pooling"], found["max_length"], found["dimensions"]) == ("cls", 48, [])


def test_a_plain_encoder_needs_its_pooling_named(tmp_path: Path) -> None:
    theirs = plain(tmp_path / "theirs", matryoshka_dimensions=[64, 32])
    with pytest.raises(BadArtefact, match="Name it with --pooling mean or cls"):
        importing.read(theirs)
    found = taken(theirs, tmp_path / "ours", "cls")
    assert (found["pooling"], found["dimensions"]) == ("cls", [32, 64])


def test_the_base_itself_is_no_model_of_a_project(tmp_path: Path) -> None:
    theirs = plain(tmp_path / "theirs", tuned=False)
    with pytest.raises(BadArtefact, match=f"weights of {BASE.name} itself"):
        taken(theirs, tmp_path / "ours", "mean")
    assert taken(theirs, tmp_path / "first", "cls")["pooling"] == "cls"


def test_a_cross_encoder_is_one_whatever_modules_it_names(tmp_path: Path) -> None:
    theirs = head_saved(tmp_path, "rerank", "head")
    write(theirs / "modules.json", [{"path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"}])
    assert importing.task_of(importing.read(theirs), "rerank") == "rerank"
    with pytest.raises(BadArtefact, match="leave --pooling out"):
        importing.read(theirs, "cls")


def _module(place: int, **changes: Any) -> Callable[[Path], Any]:
    def apply(folder: Path) -> None:
        path = folder / "modules.json"
        found = json.loads(path.read_text())
        found[place:] = [found[place] | changes] if place < len(found) else [changes]
        write(path, found)

    return apply


def _set(name: str, **changes: Any) -> Callable[[Path], Any]:
    def apply(folder: Path) -> None:
        if not (folder / name).exists():
            write(folder / name, {})
        change(folder / name, **changes)

    return apply


def _pooled(config: Any) -> Callable[[Path], Any]:
    return lambda folder: write(folder / "1_Pooling" / "config.json", config)


def _linked(folder: Path) -> None:
    path = folder / "1_Pooling" / "config.json"
    path.unlink()
    path.symlink_to(folder / "config.json")


def _pickled(folder: Path) -> None:
    shutil.copytree(folder, folder / "0_Transformer")
    (folder / "0_Transformer" / "pytorch_model.bin").write_bytes(b"\x80\x04N.")
    modules = json.loads((folder / "modules.json").read_text())
    write(folder / "modules.json", [modules[0] | {"path": "0_Transformer"}, *modules[1:]])


def _dot(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    write(folder / "modules.json", modules[:2])
    write(folder / "config_sentence_transformers.json", {"similarity_fn_name": "dot"})


SAYS = "config_sentence_transformers.json"
REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a dense layer": (_module(2, type="sentence_transformers.base.modules.dense.Dense"), "names a Dense module"),
    "a module of another package": (_module(2, type="evil.Normalize"), "names a evil.Normalize module"),
    "no pooling": (_module(1, type="sentence_transformers.models.Normalize"), "in this order"),
    "a path outside": (_module(1, path="../1_Pooling"), "only folders inside"),
    "a module that is none": (lambda folder: write(folder / "modules.json", [7]), "a 'type' and a 'path'"),
    "modules that are no list": (lambda folder: write(folder / "modules.json", {}), "not a JSON list"),
    "max pooling": (_pooled({"pooling_mode": "max"}), "pooling is 'max'; what can be served: mean, cls"),
    "the last token, as older versions say it": (_pooled({"pooling_mode_lasttoken": True}), "pooling is 'lasttoken'"),
    "two poolings": (_pooled({"pooling_mode": ["mean", "cls"]}), "joins several poolings"),
    "a pooling that is no name": (_pooled({"pooling_mode": {"a": 1}}), "pooling is"),
    "a link": (_linked, "a link"),
    "a pickle beside the encoder": (_pickled, "can run code"),
    "a prompt": (_set(SAYS, default_prompt_name="query", prompts={"query": "query: "}), "puts the prompt 'query'"),
    "dot products": (_dot, "compared by 'dot'"),
    "lower case outside the tokenizer": (_set("sentence_bert_config.json", do_lower_case=True), "lowers the case"),
    "sizes over its own": (_set("config.json", matryoshka_dimensions=[64, 768]), "sizes from 1 to 384"),
    "sizes that are none": (_set("config.json", matryoshka_dimensions=["64"]), "sizes from 1 to 384"),
    "another encoder": (_set("config.json", num_hidden_layers=5), "sizes are not those"),
}


@pytest.mark.parametrize(("change", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_would_answer_otherwise_is_refused_by_name(
    folder: Path, tmp_path: Path, change: Callable[[Path], Any], words: str
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    change(copy)
    with pytest.raises(BadArtefact, match=words):
        taken(copy, tmp_path / "target")


def test_a_pooling_that_contradicts_the_folder_is_refused(folder: Path) -> None:
    with pytest.raises(BadArtefact, match="pooling is 'mean', not 'cls'"):
        importing.read(folder, "cls")
