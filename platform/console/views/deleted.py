"""What was deleted: undo in the message, the list of the last thirty days, erasing for good."""

from django.contrib import messages
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _

from console.paging import page_number, page_of
from console.views.base import ConsoleView
from console.views.jobs import page_with
from data import kept, selectors, services
from data.models import Dataset, File
from kit.ids import public_id

PREFIXES = {"file": File.prefix, "dataset": Dataset.prefix}


def say_undo(request: HttpRequest, message: str, undo_url: str) -> None:
    """Say what was done, with the way back beside it."""
    messages.success(request, message, extra_tags=f"undo:{undo_url}")


class FileDelete(ConsoleView):
    """Take a file out of the lists."""

    section = "datasets"
    required_scopes = {"POST": "files.write"}

    def post(self, request: HttpRequest, file: str) -> HttpResponseBase:
        """Do it, and offer the way back."""
        found = selectors.file_get(self.project.pk, file)
        services.file_delete(file=found)
        undo = self.project_path("file_restore", found.public_id)
        say_undo(request, _("%(name)s was deleted.") % {"name": found.filename}, undo)
        return self.done(self.project_path("datasets"))


class DatasetDelete(ConsoleView):
    """Take a dataset out of the lists; models made from it stay."""

    section = "datasets"
    required_scopes = {"POST": "datasets.write"}

    def post(self, request: HttpRequest, dataset: str) -> HttpResponseBase:
        """Do it, and offer the way back."""
        found = selectors.dataset_get(self.project.pk, dataset)
        services.dataset_delete(dataset=found)
        undo = self.project_path("dataset_restore", found.public_id)
        say_undo(request, _("%(name)s was deleted.") % {"name": found.name}, undo)
        return self.done(self.project_path("datasets"))


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
            kind, ident = one["kind"], public_id(PREFIXES[one["kind"]], one["pk"])
            rows.append(
                {
                    **one,
                    "id": ident,
                    "erased_at": kept.last_moment(one["deleted_at"], one["expires_at"]),
                    "restore_url": self.project_path(f"{kind}_restore", ident),
                    "erase_url": self.project_path(f"{kind}_erase", ident),
                    "may": self.can("files.write" if kind == "file" else "datasets.write"),
                }
            )
        return self.page(
            {
                "page": page_with(page, rows),
                "days": kept.DAYS,
                "crumbs": [{"label": _("Datasets"), "href": self.project_path("datasets")}],
            }
        )


class FileRestore(ConsoleView):
    """Bring a deleted file back."""

    section = "datasets"
    required_scopes = {"POST": "files.write"}

    def post(self, request: HttpRequest, file: str) -> HttpResponseBase:
        """Do it and go there; one that is there already needs nothing."""
        found = selectors.file_kept(self.project.pk, file)
        message = ""
        if found.deleted_at is not None:
            services.file_restore(file=found)
            message = _("%(name)s is back.") % {"name": found.filename}
        return self.done(self.project_path("file", found.public_id), message)


class DatasetRestore(ConsoleView):
    """Bring a deleted dataset back."""

    section = "datasets"
    required_scopes = {"POST": "datasets.write"}

    def post(self, request: HttpRequest, dataset: str) -> HttpResponseBase:
        """Do it and go there; one that is there already needs nothing."""
        found = selectors.dataset_kept(self.project.pk, dataset)
        message = ""
        if found.deleted_at is not None:
            services.dataset_restore(dataset=found)
            message = _("%(name)s is back.") % {"name": found.name}
        return self.done(self.project_path("dataset", found.public_id), message)


class FileErase(ConsoleView):
    """Remove a deleted file's bytes now."""

    section = "datasets"
    required_scopes = {"POST": "files.write"}

    def post(self, request: HttpRequest, file: str) -> HttpResponseBase:
        """Do it. A file that was not deleted is none to erase."""
        found = selectors.file_kept(self.project.pk, file, deleted=True)
        services.file_erase(file=found)
        return self.done(self.project_path("deleted"), _("%(name)s was erased.") % {"name": found.filename})


class DatasetErase(ConsoleView):
    """Remove a deleted dataset's rows now."""

    section = "datasets"
    required_scopes = {"POST": "datasets.write"}

    def post(self, request: HttpRequest, dataset: str) -> HttpResponseBase:
        """Do it. A dataset that was not deleted is none to erase."""
        found = selectors.dataset_kept(self.project.pk, dataset, deleted=True)
        services.dataset_erase(dataset=found)
        return self.done(self.project_path("deleted"), _("%(name)s was erased.") % {"name": found.name})
