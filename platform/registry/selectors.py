"""Reading bases, models, versions and aliases of the scope's tenant."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import QuerySet, Sum

from data.kept import restorable_since
from kit import storage
from kit.errors import NotFound
from kit.ids import parse_id
from registry import names
from registry.bases import Base, catalogue
from registry.errors import ModelNotFound
from registry.models import Alias, Model, ModelVersion

MODEL_PARAM = "model"


def bases(*, plan: str = "") -> list[Base]:
    """The bases a plan may tune; an empty plan means all of them."""
    return [base for base in catalogue().values() if not plan or base.open_to(plan)]


def base_by_name(name: str, *, plan: str = "", param: str = MODEL_PARAM) -> Base:
    """One base; ModelNotFound when there is none, or the plan may not tune it."""
    base = catalogue().get(name)
    if base is None or (plan and not base.open_to(plan)):
        raise ModelNotFound.named(name, param=param)
    return base


def models(project_id: UUID) -> "QuerySet[Model]":
    """A project's models, newest first."""
    found: QuerySet[Model] = Model.objects.filter(project_id=project_id, deleted_at=None).order_by("-created_at", "-pk")
    return found


def models_aside(project_id: UUID, versions: Any) -> "QuerySet[Model]":
    """Of a project's models those that only hold these versions, and that nobody has named or put live."""
    named = Alias.objects.filter(project_id=project_id).values("version__model_id")
    made = ModelVersion.objects.filter(pk__in=versions).values("model_id")
    return models(project_id).filter(pk__in=made, serving=Model.Serving.NONE).exclude(pk__in=named)


def models_deleted(project_id: UUID) -> "QuerySet[Model]":
    """A project's models that were deleted and can be brought back, the last deleted first."""
    ready = ModelVersion.objects.filter(state=ModelVersion.State.READY).values("model_id")
    gone = Model.objects.filter(project_id=project_id, deleted_at__gt=restorable_since(), pk__in=ready)
    found: QuerySet[Model] = gone.order_by("-deleted_at", "-pk")
    return found


def model_by_id(project_id: UUID, public_id: str) -> Model:
    """A model by its `model_…`; NotFound for any other, deleted ones among them."""
    found = models(project_id).filter(pk=parse_id(Model.prefix, public_id)).first()
    if found is None:
        raise NotFound.of(public_id)
    return found


def model_kept(project_id: UUID, public_id: str, *, deleted: bool = False) -> Model:
    """A model by its `model_…`: there, or deleted and can be brought back; only the latter with `deleted`. NotFound for
    any other."""
    found = models_deleted(project_id).filter(pk=parse_id(Model.prefix, public_id)).first()
    if found is not None:
        return found
    if deleted:
        raise NotFound.of(public_id)
    return model_by_id(project_id, public_id)


def bytes_of(rows: "QuerySet[Model]") -> int:
    """Bytes of the weights of these models that are there."""
    ready = ModelVersion.objects.filter(model__in=rows.order_by().values("pk"), state=ModelVersion.State.READY)
    return int(ready.aggregate(total=Sum("size_bytes"))["total"] or 0)


def model_by_name(project_id: UUID, name: str, *, param: str = MODEL_PARAM) -> Model:
    """One model of a project by its full name."""
    possible = len(name) <= names.LONGEST and name.isprintable()
    model = Model.objects.filter(project_id=project_id, name=name, deleted_at=None).first() if possible else None
    if model is None:
        raise ModelNotFound.named(name, param=param)
    found: Model = model
    return found


def model_version_by_name(project_id: UUID, name: str, *, param: str = MODEL_PARAM) -> ModelVersion:
    """What a name stands for now: an alias's version, or the newest version of a model."""
    parts = names.split_alias(name)
    if parts is not None:
        alias = (
            Alias.objects.select_related("version__model")
            .filter(project_id=project_id, name=parts[0], stage=parts[1])
            .first()
        )
        if alias is None:
            raise ModelNotFound.named(name, param=param)
        target: ModelVersion = alias.version
        return target
    version = version_newest(model_by_name(project_id, name, param=param))
    if version is None:
        raise ModelNotFound.named(name, param=param)
    return version


def version_newest(model: Model) -> ModelVersion | None:
    """A model's newest version whose files are there."""
    found: ModelVersion | None = (
        ModelVersion.objects.select_related("model")
        .filter(model=model, state=ModelVersion.State.READY)
        .order_by("-number")
        .first()
    )
    return found


def version_by_number(model: Model, number: int) -> ModelVersion:
    """A model's version of that number whose files are there; ModelNotFound for any other."""
    ready = ModelVersion.objects.select_related("model").filter(model=model, state=ModelVersion.State.READY)
    found: ModelVersion | None = ready.filter(number=number).first()
    if found is None:
        raise ModelNotFound(f"The model '{model.name}' has no version {number} whose files are there.", param="version")
    return found


def versions(model: Model) -> "QuerySet[ModelVersion]":
    """A model's versions, newest first."""
    found: QuerySet[ModelVersion] = ModelVersion.objects.filter(model=model).order_by("-number")
    return found


def versions_newest(models: Iterable[Model]) -> dict[UUID, ModelVersion]:
    """The newest version of each model, by the model's key."""
    wanted = ModelVersion.objects.filter(model__in=[model.pk for model in models])
    return {version.model_id: version for version in wanted.order_by("model", "-number").distinct("model")}


def reported_versions(project_id: UUID) -> "QuerySet[ModelVersion]":
    """Versions of a project's models that have a report, newest first."""
    kept = ModelVersion.objects.filter(model__project_id=project_id, model__deleted_at=None).exclude(report={})
    found: QuerySet[ModelVersion] = kept.select_related("model").order_by("-created_at", "-pk")
    return found


def version_of_job(job_id: UUID) -> ModelVersion | None:
    """What a job made, if it made anything."""
    found: ModelVersion | None = ModelVersion.objects.select_related("model").filter(job_id=job_id).first()
    return found


def aliases_of(model: Model) -> "QuerySet[Alias]":
    """What a model is also called."""
    found: QuerySet[Alias] = Alias.objects.filter(version__model=model).order_by("name", "stage")
    return found


def aliases(project_id: UUID) -> "QuerySet[Alias]":
    """A project's aliases by name."""
    found: QuerySet[Alias] = (
        Alias.objects.select_related("version__model").filter(project_id=project_id).order_by("name", "stage")
    )
    return found


def lineage(version: ModelVersion) -> dict[str, Any]:
    """Where a version came from, by ids and hashes."""
    return {
        "base": version.model.base,
        "base_sha256": version.model.base_sha256,
        "job_id": version.job_id,
        "dataset_version_id": version.dataset_version_id,
        "dataset_sha256": version.dataset_sha256,
        "artefact_sha256": version.artefact_sha256,
    }


@dataclass(frozen=True, slots=True)
class ArtefactPlace:
    """Where an artefact's files lie: in storage under a prefix."""

    prefix: str = ""
    names: tuple[str, ...] = ()

    def source(self) -> dict[str, Any]:
        """What the engine's `load` needs to get at them: the stored folder itself, or an address of each file in the
        object store, signed anew. The engine checks every hash again, starting from `artefact_sha256`."""
        folder = storage.folder_path(self.prefix)
        if folder is not None:
            return {"folder": str(folder)}
        return {"urls": {name: storage.signed_url(f"{self.prefix}/{name}") for name in self.names}}


def artefact_place(version: ModelVersion) -> ArtefactPlace:
    """Where a version's files lie."""
    return ArtefactPlace(version.artefact_prefix, tuple(version.files))
