"""What was deleted: undo in the message, the list of the last thirty days, erasing for good."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import DateTimeField, Sum, Value
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from console.paging import page_number, page_of, page_with
from console.views.base import ConsoleView
from console.views.names import short_name
from data import kept, selectors, services
from data.models import Dataset, File
from kit.ids import public_id
from registry import selectors as registry
from registry.models import Model
from registry.services import model_delete, model_erase, model_restore


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What can be deleted and brought back: how one is found, what is done to it, which scope that takes."""

    name: str
    """Of its page, and of its id in the addresses."""
    prefix: str
    scope: str
    there: Callable[[UUID, str], Any]
    kept: Callable[[UUID, str], Any]
    """There, or deleted and can be brought back."""
    gone: Callable[[UUID, str], Any]
    """Deleted, and can be brought back."""
    title: Callable[[Any], str]
    delete: Callable[[Any], None]
    restore: Callable[[Any], Any]
    erase: Callable[[Any], None]
    lost: Callable[[Any], str] = lambda found: ""
    """What goes with one and does not come back, in words; empty for nothing."""
    listed: Callable[[dict[str, Any]], str] = lambda row: str(row["name"])
    """What the list of what was deleted calls one of its rows."""
    word: Any
    """What a row of the list calls it."""
    verb: Any
    listing: str = "deleted"
    """Of the page that lists what was deleted."""
    home: str = "datasets"
    """Where somebody goes who has deleted one."""


def _aliases_lost(model: Model) -> str:
    names = [str(alias) for alias in registry.aliases_of(model)]
    if not names:
        return ""
    words = ngettext("Its alias %(names)s is gone for good.", "Its aliases %(names)s are gone for good.", len(names))
    return words % {"names": ", ".join(names)}


FILE = Kind(
    name="file",
    prefix=File.prefix,
    scope="files.write",
    there=selectors.file_get,
    kept=selectors.file_kept,
    gone=lambda project, ident: selectors.file_kept(project, ident, deleted=True),
    title=lambda file: file.filename,
    delete=lambda file: services.file_delete(file=file),
    restore=lambda file: services.file_restore(file=file),
    erase=lambda file: services.file_erase(file=file),
    word=gettext_lazy("file"),
    verb=gettext_lazy("Erase file"),
)
DATASET = Kind(
    name="dataset",
    prefix=Dataset.prefix,
    scope="datasets.write",
    there=selectors.dataset_get,
    kept=selectors.dataset_kept,
    gone=lambda project, ident: selectors.dataset_kept(project, ident, deleted=True),
    title=lambda dataset: dataset.name,
    delete=lambda dataset: services.dataset_delete(dataset=dataset),
    restore=lambda dataset: services.dataset_restore(dataset=dataset),
    erase=lambda dataset: services.dataset_erase(dataset=dataset),
    word=gettext_lazy("dataset"),
    verb=gettext_lazy("Erase dataset"),
)
MODEL = Kind(
    name="model",
    prefix=Model.prefix,
    scope="models.write",
    there=registry.model_by_id,
    kept=registry.model_kept,
    gone=lambda project, ident: registry.model_kept(project, ident, deleted=True),
    title=short_name,
    delete=lambda model: model_delete(model=model),
    restore=lambda model: model_restore(model=model),
    erase=lambda model: model_erase(model=model),
    lost=_aliases_lost,
    word=gettext_lazy("model"),
    verb=gettext_lazy("Erase model"),
    listed=lambda row: short_name(Model(name=row["name"], suffix=row["suffix"], base=row["base"])),
    listing="models_deleted",
    home="models",
)
KINDS = {kind.name: kind for kind in (FILE, DATASET, MODEL)}


def say_undo(request: HttpRequest, message: str, undo_url: str) -> None:
    """Say what was done, with the way back beside it."""
    messages.success(request, message, extra_tags=f"undo:{undo_url}")


class Delete(ConsoleView):
    """Take a file, a dataset or a model out of the lists; what was made from it stays."""

    section = "datasets"
    kind: Kind = FILE

    def post(self, request: HttpRequest, **named: str) -> HttpResponseBase:
        """Do it, and offer the way back."""
        self.auth.require(self.kind.scope)
        found = self.kind.there(self.project.pk, named[self.kind.name])
        lost = self.kind.lost(found)
        self.kind.delete(found)
        undo = self.project_path(f"{self.kind.name}_restore", found.public_id)
        said = _("%(name)s was deleted.") % {"name": self.kind.title(found)}
        say_undo(request, f"{said} {lost}".strip(), undo)
        return self.done(self.project_path(self.kind.home))


class Restore(ConsoleView):
    """Bring a deleted file, dataset or model back."""

    section = "datasets"
    kind: Kind = FILE

    def post(self, request: HttpRequest, **named: str) -> HttpResponseBase:
        """Do it and go there; one that is there already needs nothing."""
        self.auth.require(self.kind.scope)
        found = self.kind.kept(self.project.pk, named[self.kind.name])
        message = ""
        if found.deleted_at is not None:
            self.kind.restore(found)
            message = _("%(name)s is back.") % {"name": self.kind.title(found)}
        return self.done(self.project_path(self.kind.name, found.public_id), message)


class Erase(ConsoleView):
    """Remove a deleted file's bytes, a deleted dataset's rows or a deleted model's weights now."""

    section = "datasets"
    kind: Kind = FILE

    def post(self, request: HttpRequest, **named: str) -> HttpResponseBase:
        """Do it. What was not deleted is none to erase."""
        self.auth.require(self.kind.scope)
        found = self.kind.gone(self.project.pk, named[self.kind.name])
        self.kind.erase(found)
        return self.done(
            self.project_path(self.kind.listing), _("%(name)s was erased.") % {"name": self.kind.title(found)}
        )


class Deleted(ConsoleView):
    """Files and datasets that can be brought back."""

    section = "datasets"
    required_scopes = {"GET": "datasets.read"}
    template_name = "console/deleted.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Show them, the last deleted first."""
        return self.shown(
            selectors.deleted(self.project.pk),
            crumb={"label": _("Datasets"), "href": self.project_path("datasets")},
            empty=_("Deleted files and datasets wait here for %(days)s days and can be brought back."),
            hint=_(
                "What is deleted costs nothing and takes no room in your plan. It is erased after %(days)s days, or "
                "earlier if what you deleted exceeds your plan's storage; then the longest deleted goes first."
            ),
        )

    def shown(self, found: Any, *, crumb: dict[str, str], empty: str, hint: str) -> HttpResponseBase:
        """The page of these rows, as `data.selectors.deleted` gives them."""
        page = page_of(found, page_number(self.request.GET.get("page")))
        rows = []
        for one in page.rows:
            kind = KINDS[one["kind"]]
            ident = public_id(kind.prefix, one["pk"])
            rows.append(
                {
                    **one,
                    "name": kind.listed(one),
                    "id": ident,
                    "erased_at": kept.last_moment(one["deleted_at"], one["expires_at"]),
                    "restore_url": self.project_path(f"{kind.name}_restore", ident),
                    "erase_url": self.project_path(f"{kind.name}_erase", ident),
                    "may": self.can(kind.scope),
                    "word": kind.word,
                    "verb": kind.verb,
                }
            )
        return self.page(
            {
                "page": page_with(page, rows),
                "empty": empty % {"days": kept.DAYS},
                "hint": hint % {"days": kept.DAYS},
                "crumbs": [crumb],
            }
        )


class DeletedModels(Deleted):
    """Models that can be brought back."""

    section = "models"
    required_scopes = {"GET": "models.read"}

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Show them, the last deleted first."""
        return self.shown(
            registry.models_deleted(self.project.pk).values(
                "pk",
                "name",
                "suffix",
                "base",
                "deleted_at",
                kind=Value(MODEL.name),
                size=Sum("versions__size_bytes", default=0),
                expires_at=Value(None, output_field=DateTimeField()),
            ),
            crumb={"label": _("Models"), "href": self.project_path("models")},
            empty=_("Deleted models wait here for %(days)s days and can be brought back."),
            hint=_(
                "What is deleted answers 404 and costs nothing. Its weights are removed after %(days)s days. Aliases "
                "do not come back with it."
            ),
        )
