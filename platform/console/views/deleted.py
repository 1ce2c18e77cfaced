"""What was deleted: undo in the message, the list of the last thirty days, erasing for good."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _

from console.paging import page_number, page_of, page_with
from console.views.base import ConsoleView
from data import kept, selectors, services
from data.models import Dataset, File
from kit.ids import public_id


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
)
KINDS = {kind.name: kind for kind in (FILE, DATASET)}


def say_undo(request: HttpRequest, message: str, undo_url: str) -> None:
    """Say what was done, with the way back beside it."""
    messages.success(request, message, extra_tags=f"undo:{undo_url}")


class Delete(ConsoleView):
    """Take a file or a dataset out of the lists; what was made from it stays."""

    section = "datasets"
    kind: Kind = FILE

    def post(self, request: HttpRequest, **named: str) -> HttpResponseBase:
        """Do it, and offer the way back."""
        self.auth.require(self.kind.scope)
        found = self.kind.there(self.project.pk, named[self.kind.name])
        self.kind.delete(found)
        undo = self.project_path(f"{self.kind.name}_restore", found.public_id)
        say_undo(request, _("%(name)s was deleted.") % {"name": self.kind.title(found)}, undo)
        return self.done(self.project_path("datasets"))


class Restore(ConsoleView):
    """Bring a deleted file or dataset back."""

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
    """Remove a deleted file's bytes or a deleted dataset's rows now."""

    section = "datasets"
    kind: Kind = FILE

    def post(self, request: HttpRequest, **named: str) -> HttpResponseBase:
        """Do it. What was not deleted is none to erase."""
        self.auth.require(self.kind.scope)
        found = self.kind.gone(self.project.pk, named[self.kind.name])
        self.kind.erase(found)
        return self.done(self.project_path("deleted"), _("%(name)s was erased.") % {"name": self.kind.title(found)})


class Deleted(ConsoleView):
    """Files and datasets that can be brought back."""

    section = "datasets"
    required_scopes = {"GET": "datasets.read"}
    template_name = "console/deleted.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Show them, the last deleted first."""
        page = page_of(selectors.deleted(self.project.pk), page_number(request.GET.get("page")))
        rows = []
        for one in page.rows:
            kind = KINDS[one["kind"]]
            ident = public_id(kind.prefix, one["pk"])
            rows.append(
                {
                    **one,
                    "id": ident,
                    "erased_at": kept.last_moment(one["deleted_at"], one["expires_at"]),
                    "restore_url": self.project_path(f"{kind.name}_restore", ident),
                    "erase_url": self.project_path(f"{kind.name}_erase", ident),
                    "may": self.can(kind.scope),
                }
            )
        return self.page(
            {
                "page": page_with(page, rows),
                "days": kept.DAYS,
                "crumbs": [{"label": _("Datasets"), "href": self.project_path("datasets")}],
            }
        )
