"""Small artefact folders, as a trainer leaves them. No Django, so that a fake trainer can write them too."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

REPORT: dict[str, Any] = {
    "format": 1,
    "test": {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95, "n": 50}, "macro_f1": {"value": 0.88}, "ece": 0.02},
    "baseline": {"macro_f1": {"value": 0.7}},
    "gate": {"passed": True, "reasons": []},
}


def safetensors(shapes: dict[str, list[int]]) -> bytes:
    """A safetensors file of zeros (fp32)."""
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 4
        for side in shape:
            size *= side
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + bytes(end)


def artefact(folder: Path, **changes: Any) -> Path:
    """A sound artefact folder; `changes` replace keys of artefact.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "head.safetensors").write_bytes(safetensors({"weight": [3, 384], "bias": [3]}))
    (folder / "report.json").write_text(json.dumps(REPORT))
    return seal(folder, **changes)


def seal(folder: Path, **changes: Any) -> Path:
    """Write artefact.json over whatever lies in the folder."""
    files = {
        path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
        if path.name != "artefact.json" and path.is_file()
    }
    manifest: dict[str, Any] = {
        "format": 1,
        "task": "text-classification",
        "base": "all-MiniLM-L6-v2",
        "method": "head",
        "labels": ["a", "b", "c"],
        "max_length": 128,
        "pooling": "mean",
        "temperature": 1.0,
        "lora": None,
        "files": files,
    }
    (folder / "artefact.json").write_text(json.dumps(manifest | changes))
    return folder
