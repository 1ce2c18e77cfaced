"""Files into a dataset version, through the data room; and the findings that stop a job.

A job names files (`file-…`), as on the wire, or a version somebody has already cleaned (`dsv_…`).
"""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from data import selectors as data
from data.errors import FileNotReady as DataFileNotReady
from data.errors import InvalidColumns, InvalidFile
from data.findings_text import words_of
from data.models import DatasetVersion, File
from data.roles import check_once, columns_of
from data.services import file_preview, version_check, version_for_job, version_write
from kit.errors import BadRequest
from kit.ids import public_id
from tenants.models import Project
from tenants.scope import tenant_scope
from training.errors import FileNotReady, FileUnusable
from training.models import Job

PREVIEW_BYTES = 50_000_000
LEVELS = ("blocking", "warning", "note")


@dataclass(frozen=True, slots=True)
class Seen:
    """What the data room found in the files of a job. `profile` is the training file's."""

    counts: dict[str, int]
    blocking: list[dict[str, Any]]
    profile: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ready:
    """A dataset version a job can train on."""

    version_id: UUID
    parquet_key: str
    sha256: str
    rows: int
    labels: int
    warnings: list[dict[str, Any]] = field(default_factory=list)


def source_of(project: Project, public: str, *, param: str) -> File | DatasetVersion:
    """What an id in a body names; NotFound for anything that is not the project's."""
    if public.startswith(DatasetVersion.prefix):
        return data.version_get(project.pk, public, param=param)
    return data.file_get(project.pk, public, param=param)


def check_columns(file: File, columns: dict[str, str]) -> None:
    """BadRequest when the wanted columns do not fit a file that has been read, or name one column twice."""
    try:
        check_once(columns)
        if file.columns and columns:
            columns_of(file, columns)
    except InvalidColumns as error:
        raise BadRequest(error.message, code=error.code, param=f"x_{error.param}") from error


def check_usable(sources: dict[str, UUID | None], columns: dict[str, str], task: str) -> None:
    """FileUnusable when it is known already that there is nothing to train on, with every blocking finding named.

    What is still being read is judged when it has been.
    """
    version_id = sources.get("dataset_version_id")
    if version_id is not None:
        version = DatasetVersion.objects.get(pk=version_id)
        if version.state == DatasetVersion.State.FAILED:
            data.version_ready(version)
        return
    training = File.objects.get(pk=sources["training_file_id"])
    validation = File.objects.filter(pk=sources["validation_file_id"]).first()
    try:
        version_check(training_file=training, validation_file=validation, columns=columns or None, task=task)
    except DataFileNotReady:
        return
    except InvalidColumns as error:
        raise FileUnusable(error.message, code=error.code, param="x_columns") from error
    except InvalidFile as error:
        raise FileUnusable(error.message, param="training_file") from error


def look(job: Job) -> Seen | None:
    """The findings of a job's files, in the tenant's scope; None while one is being read."""
    files = files_of(job)
    if any(file.status == File.Status.UPLOADED for file in files):
        return None
    counts = {level: sum(int(file.levels.get(level, 0)) for file in files) for level in LEVELS}
    for file in files:
        if file.status == File.Status.ERROR and not counts["blocking"]:
            raise FileUnusable(
                f"The file {file.public_id} cannot be used. {file.status_details}", param=_param(job, file)
            )
    if files and _other_columns(job, files[0]):
        return _seen_under(job, files[0])
    return Seen(counts, _findings(files, "blocking"), files[0].profile if files else {})


def _seen_under(job: Job, file: File) -> Seen:
    """What a check under the job's own columns finds; the file itself stays as it is."""
    check_columns(file, job.columns)
    if file.bytes > PREVIEW_BYTES:
        raise FileUnusable(
            f"The file is larger than {PREVIEW_BYTES:,} bytes, so its columns must be set on the file itself first.",
            param="x_columns",
        )
    answer = file_preview(file=file, mapping={**file.mapping, **job.columns})
    blocking = [
        {"file": file.public_id, **{key: found[key] for key in ("code", "title", "message", "hint", "fix", "count")}}
        | {"rows": found["rows"][:5]}
        for found in answer["findings"]
        if found["level"] == "blocking"
    ]
    return Seen({level: int(answer["levels"].get(level, 0)) for level in LEVELS}, blocking, answer["profile"])


def _other_columns(job: Job, file: File) -> dict[str, str]:
    """The roles for which the job names another column than the file was checked with."""
    return {role: column for role, column in job.columns.items() if file.roles.get(role) != column}


def prepare(job: Job) -> Ready | None:
    """The version to train on, written if need be; None while a file is being read. Opens its own scopes, may be slow.

    FileUnusable with every blocking finding in its message when there is no such version.
    """
    version = _version(job)
    if version is None:
        return None
    if version.state == DatasetVersion.State.BUILDING:
        version_write(tenant_id=job.tenant_id, version_id=version.pk)
    with tenant_scope(job.tenant_id):
        version = DatasetVersion.objects.get(pk=version.pk)
        if version.state == DatasetVersion.State.FAILED:
            raise FileUnusable(
                (version.error or {}).get("message") or "The data could not be read.", param="training_file"
            )
        if version.state != DatasetVersion.State.READY:
            return None
        return Ready(
            version_id=version.pk,
            parquet_key=version.storage_key,
            sha256=version.content_sha256,
            rows=version.rows,
            labels=len(version.labels),
            warnings=_findings(files_of(job), "warning"),
        )


def written_key(version_id: UUID) -> str:
    """The Parquet file of a version that is there already, in the tenant's scope; FileNotReady while it is not."""
    version = DatasetVersion.objects.get(pk=version_id)
    if version.state == DatasetVersion.State.BUILDING:
        raise FileNotReady("The dataset version is still being written. Ask again soon.", param="training_file")
    key: str = data.version_ready(version).storage_key
    return key


def _version(job: Job) -> DatasetVersion | None:
    with tenant_scope(job.tenant_id):
        if job.dataset_version_id is not None:
            chosen: DatasetVersion = DatasetVersion.objects.get(pk=job.dataset_version_id)
            return chosen
        files = files_of(job)
        if any(file.status == File.Status.UPLOADED for file in files):
            return None
        try:
            return version_for_job(
                project_id=job.project_id,
                training_file=files[0],
                validation_file=files[1] if len(files) > 1 else None,
                columns=job.columns or None,
                task=job.task,
            )
        except DataFileNotReady:
            return None
        except InvalidColumns as error:
            raise FileUnusable(error.message, code=error.code, param="x_columns") from error
        except InvalidFile as error:
            raise FileUnusable(error.message, param="training_file") from error


def files_of(job: Job) -> list[File]:
    """The job's files, training first; FileUnusable when one was deleted."""
    files: list[File] = []
    for param, file_id in (("training_file", job.training_file_id), ("validation_file", job.validation_file_id)):
        if file_id is None:
            continue
        file = File.objects.filter(pk=file_id, deleted_at=None).first()
        if file is None:
            raise FileUnusable(f"The file {public_id(File.prefix, file_id)} was deleted.", param=param)
        files.append(file)
    return files


def _findings(files: list[File], level: str) -> list[dict[str, Any]]:
    """Findings of one level as plain values."""
    found: list[dict[str, Any]] = []
    for file in files:
        for finding in data.findings(file, level=level):
            words = words_of(finding)
            found.append(
                {
                    "file": file.public_id,
                    "code": finding.code,
                    "title": words["title"],
                    "message": words["message"],
                    "hint": words["hint"],
                    "fix": words["fix"],
                    "count": finding.count,
                    "rows": finding.rows[:5],
                }
            )
    return found


def _param(job: Job, file: File) -> str:
    return "training_file" if file.pk == job.training_file_id else "validation_file"
