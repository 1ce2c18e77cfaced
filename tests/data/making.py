"""Objects for tests: files as if checked, versions as if written, without a worker."""

import functools
import json
import tempfile
from pathlib import Path
from typing import Any

from data.examine import examine
from data.models import Dataset, DatasetVersion, File
from data.services import dataset_create, file_create, file_store, version_write
from data.services.datasets import Source
from data.services.files import _keep
from tenants.scope import tenant_scope
from tests.conftest import Person

LABELS = ("refund", "delivery", "password")
WORDS = ["lamp", "kettle", "speaker", "parcel", "invoice", "account", "box", "order", "card", "plan", "door", "cable"]


def sample(rows: int = 60) -> bytes:
    """A sound CSV of three labels."""
    lines = [
        f"{WORDS[i % 12]} {WORDS[(i * 5 + 3) % 12]} number {i * 7919} {WORDS[(i * 7 + 1) % 12]},{LABELS[i % 3]}"
        for i in range(rows)
    ]
    return ("text,label\n" + "\n".join(lines) + "\n").encode()


def stored_file(person: Person, content: bytes | None = None, name: str = "sample.csv") -> File:
    """A file still waiting to be checked."""
    content = sample() if content is None else content
    stored = file_store(tenant_id=person.tenant.id, chunks=[content], limit=1 << 30)
    with tenant_scope(person.tenant.id):
        return file_create(project_id=person.project.id, filename=name, purpose="fine-tune", stored=stored)


def checked_file(person: Person, content: bytes | None = None, name: str = "sample.csv") -> File:
    """A file that was checked, in this process."""
    content = sample() if content is None else content
    file = stored_file(person, content, name)
    _keep(file, json.loads(_examined(content)))
    with tenant_scope(person.tenant.id):
        file.refresh_from_db()
    return file


@functools.lru_cache(maxsize=64)
def _examined(content: bytes) -> str:
    """What the reader finds, as the JSON it answers with: always the same in the same bytes, so it looks once."""
    with tempfile.NamedTemporaryFile() as copy:
        copy.write(content)
        copy.flush()
        return json.dumps(examine(Path(copy.name)).as_dict())


def dataset(person: Person, **options: Any) -> tuple[Dataset, DatasetVersion]:
    """A dataset whose version is being written."""
    file = checked_file(person)
    with tenant_scope(person.tenant.id):
        version = dataset_create(project_id=person.project.id, name="Support", sources=[Source(file)], **options)
        return version.dataset, version


def ready_dataset(person: Person, **options: Any) -> tuple[Dataset, DatasetVersion]:
    """A dataset whose version is written, by the real subprocess."""
    made, version = dataset(person, **options)
    version_write(tenant_id=person.tenant.id, version_id=version.id)
    with tenant_scope(person.tenant.id):
        version.refresh_from_db()
    return made, version
