"""The catalogue takes bases of any encoder architecture from the operator's file, and says why it takes no other."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data.roles import TRAINS_ON
from registry.bases import FILES, METHODS, BaseError, catalogue, verify
from training.lab.config import TASKS
from training.lab.shape import read_shape

ROBERTA: dict[str, Any] = {
    "model_type": "roberta", "vocab_size": 300, "hidden_size": 768, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 64, "max_position_embeddings": 130, "pad_token_id": 1,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """The catalogue is read once per process; these tests read it anew."""
    catalogue.cache_clear()
    yield
    catalogue.cache_clear()


def _listed(folder: Path, settings: Any, **changes: Any) -> Path:
    """A base folder with this config and placeholder weights, and a BASES_FILE that lists it."""
    base = folder / "base"
    base.mkdir()
    (base / "config.json").write_text(json.dumps(ROBERTA | changes))
    (base / "model.safetensors").write_bytes(b"weights")
    (base / "tokenizer.json").write_text("{}")
    pins = {name: hashlib.sha256((base / name).read_bytes()).hexdigest() for name in FILES}
    (folder / "bases.json").write_text(json.dumps({"bases": {"other": {"folder": str(base), "sha256": pins}}}))
    settings.BASES_FILE = str(folder / "bases.json")
    return base


def test_a_base_of_another_architecture_is_listed_with_its_sizes(tmp_path: Path, settings: Any) -> None:
    _listed(tmp_path, settings)
    base = catalogue()["other"]
    verify(base)
    assert (base.architecture, base.hidden, base.max_length) == ("roberta", 768, 128)
    assert catalogue()["all-MiniLM-L6-v2"].architecture == "bert"
    shape = read_shape(base.folder)
    assert not shape.own and shape.matrix_parameters == 2 * (4 * 768**2 + 2 * 768 * 64)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"auto_map": {"AutoModel": "evil.Model"}}, "brings code of its own"),
        ({"is_encoder_decoder": True}, "an encoder with a decoder"),
        ({"hidden_size": None}, "lacks hidden_size"),
    ],
)
def test_a_base_that_cannot_be_used_is_named_to_the_operator(
    tmp_path: Path, settings: Any, changes: dict[str, Any], words: str
) -> None:
    _listed(tmp_path, settings, **changes)
    with pytest.raises(BaseError, match=words):
        catalogue()


def test_a_base_with_pickled_weights_is_refused(tmp_path: Path, settings: Any) -> None:
    base = _listed(tmp_path, settings)
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    with pytest.raises(BaseError, match=r"only pytorch_model\.bin: a pickle"):
        catalogue()


def test_reading_an_architecture_imports_neither_torch_nor_transformers() -> None:
    program = "import sys, inference.architecture\nsys.exit(len({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


def test_every_task_has_a_recipe_methods_and_rows_to_learn_from() -> None:
    assert set(METHODS) == set(TRAINS_ON) == set(TASKS)
