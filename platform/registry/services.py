"""Changes to models. All run in the caller's tenant scope, except storing files, which touches no database."""

import contextlib
import datetime as dt
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Max, Q

from data.kept import restorable_since
from inference.tasks import TEXT_GENERATION
from kit import storage
from kit.clock import now
from kit.errors import BadRequest
from kit.ids import made_at, new_id
from registry import names
from registry.artefacts import Refused, Sound, check
from registry.bases import Base
from registry.errors import BadArtefact, ModelInUse, ModelNotDeleted, ModelNotFound
from registry.models import Alias, Model, ModelVersion
from tenants import audit
from tenants.models import Project, Tenant
from tenants.scope import ops_scope, tenant_scope

LIVE = frozenset({Model.Serving.LOADING, Model.Serving.LIVE})
BATCH = 200
UNPUBLISHED = dt.timedelta(days=1)
"""How long a stored artefact may wait for its publication: far longer than a lease."""
METRICS = ("accuracy", "macro_f1", "ece")
WRITING_METRICS = ("loss", "perplexity", "token_accuracy")
"""Of a model that writes text."""


class Stored:
    """An artefact whose files lie in storage under a prefix nobody points at yet."""

    __slots__ = ("prefix", "sound", "version_id")

    def __init__(self, version_id: UUID, prefix: str, sound: Sound) -> None:
        self.version_id, self.prefix, self.sound = version_id, prefix, sound


def artefact_store(*, tenant_id: UUID, folder: Any) -> Stored:
    """Check a trainer's output folder and copy it into storage. Slow, and outside any transaction.

    Each call has a prefix of its own, so a zombie's upload can never overwrite a winner's. Raises BadArtefact,
    and StorageAway; nothing of it is left then.
    """
    try:
        sound = check(folder)
    except Refused as error:
        raise BadArtefact(f"The artefact was refused: {error}") from error
    version_id = new_id()
    prefix = storage.tenant_key(tenant_id, "models", version_id)
    try:
        for name, entry in sound.files.items():
            size, digest = storage.write_path(f"{prefix}/{name}", sound.folder / name)
            if size != entry["bytes"] or digest != entry["sha256"]:
                raise BadArtefact(f"{name} changed while it was being stored.")
    except BaseException:
        storage.drop_all(f"{prefix}/{name}" for name in sound.files)
        raise
    return Stored(version_id, prefix, sound)


def artefact_discard(stored: Stored) -> None:
    """Remove a stored artefact that was never published."""
    for name in stored.sound.files:
        storage.delete(f"{stored.prefix}/{name}")


def model_publish(
    *,
    project: Project,
    base: Base,
    task: str,
    suffix: str,
    name: str,
    stored: Stored,
    report: dict[str, Any],
    job_id: UUID | None,
    dataset_version_id: UUID | None = None,
    dataset_sha256: str = "",
) -> ModelVersion:
    """Make the stored artefact the next version of the project's model of that name. `job_id` None: no job made it."""
    made_of = {"base": base.name, "base_sha256": base.fingerprint, "task": task}
    model, _ = Model.objects.get_or_create(
        name=name, defaults={"tenant_id": project.tenant_id, "project": project, "suffix": suffix, **made_of}
    )
    last = ModelVersion.objects.filter(model=model).aggregate(last=Max("number"))["last"] or 0
    version: ModelVersion = ModelVersion.objects.create(
        id=stored.version_id,
        model=model,
        number=last + 1,
        method=stored.sound.manifest["method"],
        labels=stored.sound.manifest["labels"],
        artefact_prefix=stored.prefix,
        artefact_sha256=stored.sound.manifest_sha256,
        files=stored.sound.files,
        size_bytes=stored.sound.size,
        metrics=summary(report),
        report=report,
        job_id=job_id,
        dataset_version_id=dataset_version_id,
        dataset_sha256=dataset_sha256,
    )
    audit.record(action="model.published", target=model, after={"version": version.number, "metrics": version.metrics})
    return version


def summary(report: dict[str, Any]) -> dict[str, Any]:
    """The few numbers of a report that lists show."""
    test, baseline = report.get("test") or {}, report.get("baseline") or {}
    writes = report.get("task") == TEXT_GENERATION
    numbers: dict[str, Any] = {name: _value(test.get(name)) for name in (WRITING_METRICS if writes else METRICS)}
    compared = "perplexity" if writes else "macro_f1"
    numbers[f"baseline_{compared}"] = _value(baseline.get(compared))
    numbers["gate_passed"] = bool((report.get("gate") or {}).get("passed"))
    return numbers


def _value(figure: Any) -> float | None:
    value = figure.get("value") if isinstance(figure, dict) else figure
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def alias_set(*, project: Project, alias: str, version: ModelVersion) -> Alias:
    """Point `name@stage` at a version; the move is audited with both ends."""
    parts = names.split_alias(alias)
    if parts is None:
        raise BadRequest(f"An alias is {names.ALIAS_RULE}.", param="alias")
    # Naming and deleting one model take turns.
    if Model.objects.select_for_update().get(pk=version.model_id).deleted_at is not None:
        raise ModelNotFound.named(version.model.name)
    found = Alias.objects.select_for_update().filter(project=project, name=parts[0], stage=parts[1]).first()
    if found is None:
        made: Alias = Alias.objects.create(project=project, name=parts[0], stage=parts[1], version=version)
        audit.record(action="alias.created", target=made, after={"version": version.public_id})
        return made
    row: Alias = found
    if row.version_id != version.id:
        before = row.version
        row.version, row.moved_at = version, now()
        row.save(update_fields=["version", "moved_at"])
        audit.record(
            action="alias.moved",
            target=row,
            before={"version": before.public_id},
            after={"version": version.public_id},
        )
    return row


def model_serving_set(*, model: Model, state: str) -> None:
    """Serving tells what became of a model: loading, live, stopped, failed. What is loading or live is not deleted."""
    Model.objects.filter(pk=model.pk).update(serving=Model.Serving(state))


def version_pin_set(*, version: ModelVersion, pinned: bool) -> None:
    """Serving tells that a version is kept in the engines' memory, or no longer."""
    version.pinned = pinned
    version.save(update_fields=["pinned"])


def model_delete(*, model: Model, at: dt.datetime | None = None) -> None:
    """Take a model out of the lists: its name answers 404 from now on, and its aliases are gone. `model_restore` brings
    it back, without them, for thirty days. ModelInUse while it is served. Models deleted together have one `at`."""
    row = Model.objects.select_for_update().get(pk=model.pk)
    if row.serving in LIVE:
        raise ModelInUse(
            f"The model '{row.name}' is deployed. Stop its deployment first (DELETE /v1/deployments/{{id}})."
        )
    Alias.objects.filter(version__model=row).delete()
    if Model.objects.filter(pk=row.pk, deleted_at=None).update(deleted_at=at or now()):
        audit.record(action="model.deleted", target=row)


def model_restore(*, model: Model) -> Model:
    """Bring a deleted model back. ModelNotDeleted where there is nothing to be brought back."""
    row = _deleted(model)
    Model.objects.filter(pk=row.pk).update(deleted_at=None)
    audit.record(action="model.restored", target=row)
    return row


def model_erase(*, model: Model) -> None:
    """Remove the weights of a deleted model after the commit; its report and lineage stay with the job that made it.
    ModelNotDeleted if it is not deleted, or was erased."""
    row = _deleted(model, ever=True)
    ready = ModelVersion.objects.filter(model=row, state=ModelVersion.State.READY)
    keys = [f"{version.artefact_prefix}/{name}" for version in ready for name in version.files]
    ready.update(state=ModelVersion.State.DELETED)
    audit.record(action="model.erased", target=row)
    transaction.on_commit(lambda: storage.delete_all(keys), robust=True)


def models_purge() -> int:
    """Erase what was deleted thirty days ago, a batch of every tenant's; how many models."""
    with ops_scope("find models to be erased"):
        found = list(Model.ops.filter(_erasable()).values_list("tenant_id", "pk").distinct()[:BATCH])
    done = 0
    for tenant_id, pk in found:
        with tenant_scope(tenant_id):
            row = Model.objects.filter(_erasable(), pk=pk).first()
            with contextlib.suppress(ModelNotDeleted):  # another purge was faster
                if row is not None:
                    model_erase(model=row)
                    done += 1
    return done


def artefacts_sweep() -> int:
    """Remove what was stored a day ago and never published, or could not be erased with its model; how many. A worker
    that dies, or finds its lease gone, between storing and publishing leaves such."""
    with ops_scope("find every organisation"):
        tenants = list(Tenant.ops.values_list("pk", flat=True))
    return sum(_artefacts_sweep(tenant_id) for tenant_id in tenants)


def _artefacts_sweep(tenant_id: UUID) -> int:
    old = []
    for name in storage.folders(f"t/{tenant_id}/models"):
        with contextlib.suppress(ValueError):  # not one of ours
            old += [UUID(name)] if made_at(UUID(name)) < now() - UNPUBLISHED else []
    if not old:
        return 0
    with tenant_scope(tenant_id):
        ready = ModelVersion.objects.filter(pk__in=old, state=ModelVersion.State.READY)
        known = set(ready.values_list("pk", flat=True))
    lost = [storage.tenant_key(tenant_id, "models", one) for one in old if one not in known]
    return sum(storage.drop_folder(prefix) > 0 for prefix in lost)


def _erasable() -> Q:
    """Models that were deleted long ago and still have weights."""
    return Q(deleted_at__lte=restorable_since(), versions__state=ModelVersion.State.READY)


def _deleted(model: Model, *, ever: bool = False) -> Model:
    """Its row, locked, if it is deleted and its weights are there: within the days of grace, or `ever`."""
    row = Model.objects.select_for_update().get(pk=model.pk)
    since = None if ever else restorable_since()
    late = row.deleted_at is None or (since is not None and row.deleted_at <= since)
    ready = ModelVersion.objects.filter(model=row, state=ModelVersion.State.READY)
    if late or row.serving in LIVE or not ready.exists():
        raise ModelNotDeleted("This model is not deleted, or its weights were erased already.")
    found: Model = row
    return found
