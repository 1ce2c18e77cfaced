"""The real tiny Llama with heads four times as wide, for kernels that take no heads of eight: the same function."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tests.late import late

torch, safetensors = late("torch"), late("safetensors.torch")

WIDER = 4


def widened(source: Path, folder: Path) -> Path:
    """Lay each pair of rotated numbers where the wider head turns at the same rate, zeros between them, and make the
    queries larger by what the wider head's scale takes away."""
    config = json.loads((source / "config.json").read_text())
    old, folder_config = config["head_dim"], config | {"head_dim": config["head_dim"] * WIDER}
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Any] = {}
    for name, value in safetensors.load_file(source / "model.safetensors").items():
        if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")):
            value = _spread(value, old)
        if name.endswith("q_proj.weight"):
            value = value * WIDER**0.5
        if name.endswith("o_proj.weight"):
            value = _spread(value.T, old).T
        tensors[name] = value.contiguous()
    safetensors.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(folder_config))
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(source / name, folder / name)
    return folder


def _spread(rows: Any, head: int) -> Any:
    """[heads * head, in] -> [heads * head * WIDER, in]."""
    heads = rows.reshape(-1, head, rows.shape[1])
    wide = torch.zeros(heads.shape[0], head * WIDER, rows.shape[1])
    wide[:, ::WIDER] = heads
    return wide.reshape(-1, rows.shape[1])
