"""Datasets and their versions: say what a version is made of, write it in the background, never change it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Max

from data.columns import CLASSIFICATION
from data.errors import FileNotReady, InvalidFile, InvalidFix
from data.findings_text import blocking_summary
from data.fixes import TALK_STEPS, FixError, Plan, plan_of
from data.models import Dataset, DatasetVersion, File, Finding, VersionSource
from data.roles import columns_of, task_required, task_wanted
from data.services.files import visible
from data.split import DEFAULT_SEED, EVEN_TENTHS, Fractions
from kit import outbox
from kit.errors import BadRequest
from tenants import audit

MAX_FILES = 20
WHOLE_SET_CODES = frozenset(("too_few_rows", "single_class", "one_row_classes"))
"""Findings that only count for the file trained on: a validation file may well be small."""

VALUE_CODES = WHOLE_SET_CODES | {
    "missing_text_column", "missing_label_column", "empty_text", "empty_label", "wrong_type", "label_too_long",
    "too_many_labels", "unknown_split", "missing_messages", "bad_message", "unknown_role", "no_assistant",
    "empty_message", "bad_weight", "bad_tool_call", "bad_tools", "empty_prompt", "empty_completion",
    "missing_prompt_column", "missing_completion_column",
}  # fmt: skip
"""Findings about the values of the columns a file was checked with."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file of a version; `split` puts all its rows on one side."""

    file: File
    split: str = ""


@dataclass(frozen=True, slots=True)
class Shape:
    """How a version is cut: columns by role (guesses where empty), seed, shares of validation and test."""

    columns: Mapping[str, str] | None = None
    seed: int = DEFAULT_SEED
    fractions: Fractions = EVEN_TENTHS


DEFAULT_SHAPE = Shape()


def dataset_create(
    *,
    project_id: UUID,
    name: str,
    sources: Sequence[Source],
    fixes: Sequence[Mapping[str, Any]] = (),
    shape: Shape = DEFAULT_SHAPE,
) -> DatasetVersion:
    """A dataset with its first version, which is written after commit.

    InvalidFile when blocking findings are left that `fixes` do not cure; InvalidColumns, InvalidFix, FileNotReady.
    """
    plan = _plan(fixes)
    spec = _spec(sources, plan, shape)
    called = visible(name) or sources[0].file.filename
    dataset = Dataset.objects.create(project_id=project_id, name=called[:120])
    audit.record(action="dataset.created", target=dataset, after={"name": dataset.name})
    return _version(dataset, sources, spec, parent=None)


def version_create(
    *,
    dataset: Dataset,
    parent: DatasetVersion | None = None,
    fixes: Sequence[Mapping[str, Any]] = (),
    columns: Mapping[str, str] | None = None,
    seed: int | None = None,
    fractions: Fractions | None = None,
) -> DatasetVersion:
    """A version made from `parent` (the newest by default) with further fixes.

    The same request gives the same version.
    """
    parent = parent or dataset.versions.order_by("-number").first()
    if parent is None:
        raise BadRequest("This dataset has no version to start from.", param="dataset")
    sources = [
        Source(source.file, source.split) for source in parent.sources.select_related("file").order_by("position")
    ]
    gone = [source.file.filename for source in sources if source.file.deleted_at]
    if gone:
        raise BadRequest(
            f"The file “{gone[0]}” of this version was deleted, so no further version can be made from it."
        )
    kept = Fractions(**parent.spec["split"])
    shape = Shape(
        columns=columns or parent.spec["files"][0]["columns"],
        seed=parent.spec["seed"] if seed is None else seed,
        fractions=fractions or kept,
    )
    spec = _spec(sources, _plan([*parent.spec["fixes"], *fixes]), shape)
    return _version(dataset, sources, spec, parent=parent)


def version_for_job(
    *,
    project_id: UUID,
    training_file: File,
    validation_file: File | None = None,
    columns: Mapping[str, str] | None = None,
    task: str = CLASSIFICATION,
) -> DatasetVersion:
    """The version that a job of a task on plain files trains on: an existing one of the same make, or a new dataset's
    first. WrongTask for files whose rows are something else."""
    sources, shape, spec = job_spec(training_file, validation_file, columns, task)
    twin = DatasetVersion.objects.filter(
        project_id=project_id, spec_sha256=_digest(spec), dataset__deleted_at=None
    ).exclude(state=DatasetVersion.State.FAILED)
    found = twin.order_by("-id").first()
    if found is not None:
        return found
    return dataset_create(project_id=project_id, name=training_file.filename, sources=sources, shape=shape)


def version_check(
    *,
    training_file: File,
    validation_file: File | None = None,
    columns: Mapping[str, str] | None = None,
    task: str = CLASSIFICATION,
) -> None:
    """Refuse what `version_for_job` would refuse, and write nothing: FileNotReady, InvalidFile, InvalidColumns."""
    job_spec(training_file, validation_file, columns, task)


def job_spec(
    training_file: File, validation_file: File | None, columns: Mapping[str, str] | None, task: str
) -> tuple[list[Source], Shape, dict[str, Any]]:
    """What a job of a task on plain files makes a version of."""
    for file in (training_file, validation_file):
        if file is not None:
            task_required(file, task, columns)
    sources = [Source(training_file)]
    if validation_file is not None:
        sources.append(Source(validation_file, "validation"))
    shape = Shape(columns=columns)
    return sources, shape, _spec(sources, Plan(), shape)


def _plan(fixes: Sequence[Mapping[str, Any]]) -> Plan:
    try:
        return plan_of(fixes)
    except FixError as error:
        raise InvalidFix(str(error), param=error.param) from error


def _spec(sources: Sequence[Source], plan: Plan, shape: Shape) -> dict[str, Any]:
    """Check that the files can become a version under the plan, and describe it."""
    if not 1 <= len(sources) <= MAX_FILES:
        raise BadRequest(f"A dataset takes 1 to {MAX_FILES} files.", param="files")
    if len({source.file.pk for source in sources}) != len(sources):
        raise BadRequest("A file can be in a dataset once.", param="files")
    for source in sources:
        _check_state(source.file)
    tasks = [task_wanted(source.file, shape.columns) for source in sources]
    if len(set(tasks)) > 1:
        raise InvalidFile(
            f"The files hold rows of several kinds ({', '.join(sorted(set(tasks)))}). Make one dataset of each kind.",
            param="files",
        )
    task = tasks[0]
    _check_fixes(plan, task)
    files = []
    for position, source in enumerate(sources):
        if not source.file.columns:  # nothing could be read: to ask for columns would only hide the cause
            _check_file(source.file, plan, {}, first=True)
        columns = columns_of(source.file, shape.columns, task=task)
        _check_file(source.file, plan, columns, first=position == 0)
        files.append({"sha256": source.file.sha256, "split": source.split, "columns": columns})
    split = {"validation": shape.fractions.validation, "test": shape.fractions.test}
    spec = {"files": files, "fixes": plan.as_list(), "seed": shape.seed, "split": split}
    # Labelled text came first, and its specs name no task: the same request keeps giving the same version.
    return spec if task == CLASSIFICATION else spec | {"task": task}


def _check_fixes(plan: Plan, task: str) -> None:
    odd = sorted(plan.steps - set(TALK_STEPS))
    if task != CLASSIFICATION and odd:
        raise InvalidFix(
            f"The fix {odd[0]} is for labelled text; these are {task} rows. Use {', '.join(TALK_STEPS)}.", param="fixes"
        )


def _check_state(file: File) -> None:
    if file.status == File.Status.UPLOADED:
        raise FileNotReady(
            f"The file {file.public_id} is still being checked. Wait until its status is processed.", param="file"
        )
    if file.status == File.Status.ERROR:
        raise InvalidFile(f"The file {file.public_id} cannot be used. {file.status_details}", param="file")


def _check_file(file: File, plan: Plan, columns: Mapping[str, str], *, first: bool) -> None:
    """InvalidFile when blocking findings are left that the plan does not cure.

    Under other columns than the file was checked with, only what concerns reading it counts: the writer judges the
    values, and refuses what the plan does not cure.
    """
    other = any(file.roles.get(role) != column for role, column in columns.items())
    blocking = [
        found
        for found in Finding.objects.filter(file=file, level="blocking").order_by("position")
        if not (plan.steps & {found.definition.fix})
        and (first or found.code not in WHOLE_SET_CODES)
        and not (other and found.code in VALUE_CODES)
    ]
    if blocking:
        raise InvalidFile(blocking_summary(file.public_id, blocking), param="file")


def _digest(spec: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(spec, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _version(
    dataset: Dataset, sources: Sequence[Source], spec: dict[str, Any], *, parent: DatasetVersion | None
) -> DatasetVersion:
    """The dataset's version of this spec: the existing one, or a new row that is written after commit."""
    digest = _digest(spec)
    Dataset.objects.select_for_update().get(pk=dataset.pk)
    twin = DatasetVersion.objects.filter(dataset=dataset, spec_sha256=digest).first()
    if twin is not None and twin.state != DatasetVersion.State.FAILED:
        return twin
    _hold(sources)
    if twin is not None:
        DatasetVersion.objects.filter(pk=twin.pk).update(state=DatasetVersion.State.BUILDING, error=None, attempts=0)
        twin.refresh_from_db()
        _ring(twin)
        return twin
    last = DatasetVersion.objects.filter(dataset=dataset).aggregate(last=Max("number"))["last"] or 0
    version = DatasetVersion.objects.create(
        project_id=dataset.project_id,
        dataset=dataset,
        parent=parent,
        number=last + 1,
        task=spec.get("task", CLASSIFICATION),
        spec=spec,
        spec_sha256=digest,
    )
    for position, source in enumerate(sources):
        VersionSource.objects.create(version=version, file=source.file, position=position, split=source.split)
    audit.record(action="dataset.version_created", target=version, after={"number": version.number})
    _ring(version)
    return version


def _hold(sources: Sequence[Source]) -> None:
    """Nobody deletes the files until the version is there to see: whoever does takes the same locks. BadRequest for one
    that is gone already."""
    wanted = File.objects.filter(pk__in=[source.file.pk for source in sources], deleted_at=None)
    held = set(wanted.select_for_update(no_key=True).order_by("pk").values_list("pk", flat=True))
    gone = [source.file.filename for source in sources if source.file.pk not in held]
    if gone:
        raise BadRequest(f"The file “{gone[0]}” was deleted meanwhile. Bring it back, or choose another.", param="file")


def _ring(version: DatasetVersion) -> None:
    outbox.ring("data.version_write", str(version.tenant_id), str(version.id), queue="ingest")
