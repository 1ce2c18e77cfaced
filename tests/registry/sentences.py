"""Folders as sentence-transformers saves them, with random weights near those of the base."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.numpy import save_file

from tests.inference.artefacts import BASE, base_weights, make

FLAGS = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}


def write(path: Path, content: Any) -> None:
    """JSON, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def change(path: Path, **changes: Any) -> None:
    """Other values for some keys of a JSON object."""
    write(path, json.loads(path.read_text()) | changes)


def plain(folder: Path, *, tuned: bool = True, **config: Any) -> Path:
    """What transformers saves of a `BertModel`."""
    folder.mkdir(parents=True)
    weights = make(folder.with_name(folder.name + "-ours"), "full", labels=0, seed=71).encoder
    save_file(weights if tuned else base_weights(), folder / "model.safetensors", metadata={"format": "pt"})
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(BASE.folder / name, folder / name)
    change(folder / "config.json", architectures=["BertModel"], **config)
    return folder


def saved(folder: Path, pooling: str = "mean", *, old: bool = False, **config: Any) -> Path:
    """With `modules.json`; `old` as versions before 5 did it, in a folder of its own for the encoder."""
    encoder = folder / "0_Transformer" if old else folder
    if old:
        folder.mkdir(parents=True)
    plain(encoder, **config)
    modules = [
        ("0_Transformer" if old else "", "base.modules.transformer.Transformer"),
        ("1_Pooling", "sentence_transformer.modules.pooling.Pooling"),
        ("2_Normalize", "base.modules.normalize.Normalize"),
    ]
    if old:
        modules = [(path, f"models.{kind.rpartition('.')[2]}") for path, kind in modules]
        write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 384, FLAGS[pooling]: True})
        write(encoder / "sentence_bert_config.json", {"max_seq_length": 48, "do_lower_case": False})
    else:
        write(folder / "1_Pooling" / "config.json", {"embedding_dimension": 384, "pooling_mode": pooling})
        write(folder / "2_Normalize" / "config.json", {})
    (folder / "2_Normalize").mkdir(exist_ok=True)
    listed = [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.{kind}"}
        for place, (path, kind) in enumerate(modules)
    ]
    write(folder / "modules.json", listed)
    return folder
