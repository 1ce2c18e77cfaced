"""Models for tests, made through the registry's own door from small artefact folders."""

import hashlib
import json
import struct
import tempfile
from pathlib import Path
from typing import Any

from kit.ids import new_id
from registry.bases import catalogue
from registry.models import ModelVersion
from registry.names import model_name
from registry.services import artefact_store, model_publish
from tenants.scope import tenant_scope
from tests.conftest import Person

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


def make_model(person: Person, *, suffix: str = "tried") -> ModelVersion:
    """A published model of a person's project."""
    base = catalogue()["all-MiniLM-L6-v2"]
    job_id = new_id()
    with tempfile.TemporaryDirectory() as folder:
        stored = artefact_store(tenant_id=person.tenant.id, folder=artefact(Path(folder) / "artefact"))
    with tenant_scope(person.tenant.id):
        return model_publish(
            project=person.project,
            base=base,
            task="text-classification",
            suffix=suffix,
            name=model_name(base=base.name, tenant_slug=person.tenant.slug, suffix=suffix, job_id=job_id),
            stored=stored,
            report=REPORT,
            job_id=job_id,
        )
