"""Models that were trained elsewhere: a folder of transformers, or an artefact of ours, as a project's own model.

The conversion runs as a process of its own (`python -m inference.importing`), because it needs torch, which no process
of ours that knows Django imports; what it leaves is checked like any trainer's output.
"""

import json
import logging
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings

from kit.errors import BadRequest
from kit.ids import new_id
from registry import names
from registry.artefacts import MANIFEST, UNLABELLED
from registry.bases import TEXT_CLASSIFICATION, Base
from registry.errors import BadArtefact
from registry.models import ModelVersion
from registry.selectors import base_by_name
from registry.services import Stored, artefact_discard, artefact_store, model_publish
from tenants.models import Project, Tenant
from tenants.scope import tenant_scope

logger = logging.getLogger(__name__)

SECONDS = 900
"""How long a conversion may take."""


def model_import(
    *, project: Project, folder: Path, base: str = "", task: str = "", suffix: str = "imported", max_length: int = 0,
    pooling: str = "",
) -> ModelVersion:  # fmt: skip
    """Take a folder in as a model of the project. Slow; outside any scope. Raises BadArtefact, BadRequest and
    ModelNotFound (for the base)."""
    if not names.SUFFIX.fullmatch(suffix):
        raise BadRequest(f"A suffix is {names.SUFFIX_RULE}.", param="suffix")
    with tempfile.TemporaryDirectory(prefix="import-") as made:
        if (folder / MANIFEST).exists():
            ready = folder
        else:
            ready = Path(made) / "artefact"
            named = base_by_name(base or "all-MiniLM-L6-v2", param="base")
            _convert(folder, ready, named, {"task": task, "max-length": max_length, "pooling": pooling})
        stored = artefact_store(tenant_id=project.tenant_id, folder=ready)
    try:
        return _publish(project, stored, suffix, said=(base, task))
    except BaseException:
        artefact_discard(stored)
        raise


def _publish(project: Project, stored: Stored, suffix: str, said: tuple[str, str]) -> ModelVersion:
    manifest = stored.sound.manifest
    found = base_by_name(manifest["base"], param="base")
    for word, name in zip(said, ("base", "task"), strict=True):
        if word and word != manifest[name]:
            raise BadArtefact(f"The artefact's {name} is {manifest[name]}, not {word}.")
    _check_served(found, manifest["task"])
    with tenant_scope(project.tenant_id):
        slug = Tenant.objects.get(pk=project.tenant_id).slug
        return model_publish(
            project=project,
            base=found,
            task=manifest["task"],
            suffix=suffix,
            name=names.model_name(base=found.name, tenant_slug=slug, suffix=suffix, job_id=new_id()),
            stored=stored,
            report={},
            job_id=None,
        )


def _check_served(base: Base, task: str) -> None:
    """A base that reads can serve every task of reading; one that writes, only its own."""
    reads = TEXT_CLASSIFICATION in base.tasks
    if (task in base.tasks) or (reads and task not in UNLABELLED):
        return
    raise BadArtefact(f"The base {base.name} cannot be used for {task}.")


def _convert(folder: Path, target: Path, base: Base, options: dict[str, str | int]) -> None:
    command = [sys.executable, "-m", "inference.importing", str(folder.resolve()), str(target), "--base", base.name]
    if settings.BASES_FILE:
        command += ["--catalogue", str(settings.BASES_FILE)]
    for name, value in options.items():
        if value:
            command += [f"--{name}", str(value)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False,
            cwd=settings.ROOT,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise BadArtefact(f"The folder could not be converted within {SECONDS} s.") from error
    answer = _last(done.stdout)
    if done.returncode or "task" not in answer:
        logger.warning("a conversion failed: %s", done.stderr[-2000:])
        problem = answer.get("problem") or (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
        raise BadArtefact(f"The folder was refused: {problem}")


def _last(output: str) -> dict[str, Any]:
    """The last line, if it is a JSON object."""
    try:
        found = json.loads(output.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return {}
    return found if isinstance(found, dict) else {}
