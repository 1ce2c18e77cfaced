"""Files, uploads, datasets."""

from django.core.files.uploadedfile import SimpleUploadedFile

from data.services import file_store, upload_create, upload_part_create
from tenants.scope import tenant_scope
from tests.conftest import Person
from tests.data import making
from tests.isolation.routes import Ids, Policy


def a_file(person: Person) -> Ids:
    return {"file_id": making.checked_file(person).public_id}


def an_upload(person: Person) -> Ids:
    with tenant_scope(person.tenant.id):
        upload = upload_create(
            project_id=person.project.id, filename="a.csv", purpose="fine-tune", size=4, mime_type="text/csv"
        )
    stored = file_store(tenant_id=person.tenant.id, chunks=[b"text"], limit=64)
    with tenant_scope(person.tenant.id):
        part = upload_part_create(upload=upload, stored=stored)
    return {"upload_id": upload.public_id, "part_id": part.public_id}


def a_dataset(person: Person) -> Ids:
    return {"dataset_id": making.dataset(person)[0].public_id}


def a_version(person: Person) -> Ids:
    dataset, version = making.dataset(person)
    return {"dataset_id": dataset.public_id, "version_id": version.public_id}


def a_ready_version(person: Person) -> Ids:
    dataset, version = making.ready_dataset(person)
    return {"dataset_id": dataset.public_id, "version_id": version.public_id}


def form(name: str) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, making.sample(), "text/csv")


POLICIES: dict[str, Policy] = {
    "v1/files": Policy(
        "api",
        success={"GET": 200, "POST": 200},
        bodies={"POST": lambda ids: {"file": form("mine.csv"), "purpose": "fine-tune"}},
        form=True,
    ),
    "v1/files/<str:file_id>": Policy("api", success={"GET": 200, "DELETE": 200}, make=a_file),
    "v1/files/<str:file_id>/content": Policy("api", success={"GET": 200}, make=a_file),
    "v1/files/<str:file_id>/findings": Policy("api", success={"GET": 200}, make=a_file),
    "v1/files/<str:file_id>/findings/rows": Policy("api", success={"GET": 200}, make=a_file),
    "v1/uploads": Policy(
        "api",
        success={"POST": 200},
        bodies={"POST": lambda ids: {"filename": "a.csv", "purpose": "fine-tune", "bytes": 9, "mime_type": "text/csv"}},
    ),
    "v1/uploads/<str:upload_id>/parts": Policy(
        "api",
        success={"POST": 200},
        make=an_upload,
        bodies={"POST": lambda ids: {"data": SimpleUploadedFile("part", b"more")}},
        form=True,
    ),
    "v1/uploads/<str:upload_id>/complete": Policy(
        "api", success={"POST": 200}, make=an_upload, bodies={"POST": lambda ids: {"part_ids": [ids["part_id"]]}}
    ),
    "v1/uploads/<str:upload_id>/cancel": Policy("api", success={"POST": 200}, make=an_upload),
    "v1/datasets": Policy(
        "api",
        success={"GET": 200, "POST": 200},
        make=a_file,
        bodies={"POST": lambda ids: {"file_id": ids["file_id"]}},
        hidden={"GET": 200},
    ),
    "v1/datasets/<str:dataset_id>": Policy("api", success={"GET": 200, "DELETE": 200}, make=a_dataset),
    "v1/datasets/<str:dataset_id>/versions": Policy(
        "api", success={"GET": 200, "POST": 200}, make=a_dataset, bodies={"POST": lambda ids: {"seed": 5}}
    ),
    "v1/datasets/<str:dataset_id>/versions/<str:version_id>": Policy("api", success={"GET": 200}, make=a_version),
    "v1/datasets/<str:dataset_id>/versions/<str:version_id>/rows": Policy(
        "api", success={"GET": 200}, make=a_ready_version
    ),
}
