"""Batches: the list, the form with its upload, one batch with its files, cancel."""

from typing import Any

from django import forms
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from batches import selectors, services
from batches.endpoints import endpoints
from batches.limits import WINDOW_SECONDS, waiting_limit
from batches.lines import MAX_LINES
from batches.models import Batch
from console.paging import page_number, page_of, page_with
from console.views.base import ConsoleView, Download
from console.views.files import Upload
from data import limits
from data import selectors as data
from data.models import File, Purpose
from kit import storage
from kit.errors import NotFound
from kit.streams import attachment

FILES_SHOWN = 100
PROBLEMS_SHOWN = 100
READ = "jobs.read"
MAKE = "inference"


class BatchForm(forms.Form):
    """Which file, and which path its lines call."""

    api_names = {"input_file_id": "file"}

    file = forms.ChoiceField(
        label=gettext_lazy("File"),
        error_messages={"invalid_choice": gettext_lazy("Choose one of the files below, or upload one.")},
    )
    endpoint = forms.ChoiceField(
        label=gettext_lazy("Endpoint"),
        help_text=gettext_lazy("Every line of the file names the same one in url."),
    )

    def __init__(self, files: list[File], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["file"].choices = [  # type: ignore[attr-defined]
            (file.public_id, f"{file.filename}, {file.created_at:%-d %b %H:%M} UTC") for file in files
        ]
        self.fields["endpoint"].choices = [(path, path) for path in endpoints()]  # type: ignore[attr-defined]


class Batches(ConsoleView):
    """All batches of the project."""

    section = "batches"
    required_scopes = {"GET": READ}
    template_name = "console/batches.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Show them; the list refreshes itself while one is open."""
        page = page_of(selectors.batches(self.project.pk).order_by("-pk"), page_number(request.GET.get("page")))
        rows = [self._row(batch) for batch in page.rows]
        return self.page(
            {
                "page": page_with(page, rows),
                "busy": any(not batch.is_final for batch in page.rows),
                "can_make": self.can(MAKE),
                "new_url": self.project_path("batch_new"),
            }
        )

    def _row(self, batch: Batch) -> dict[str, Any]:
        return {
            "batch": batch,
            "href": self.project_path("batch", batch.public_id),
            "name": batch.input_file.filename,
            "done": batch.ended_lines / batch.total if batch.total else None,
        }


class BatchNew(ConsoleView):
    """Make one of a file that is there."""

    section = "batches"
    required_scopes = {"GET": MAKE, "POST": MAKE}
    template_name = "console/batch_new.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """The form, on the file that was named or the newest."""
        files = self._files()
        named = [file for file in files if file.public_id == request.GET.get("file")]
        chosen = next(iter(named or files), None)
        initial = {"file": chosen.public_id, "endpoint": selectors.endpoint_in(chosen)} if chosen else {}
        return self._form(BatchForm(files, initial=initial))

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """Make it and go there."""
        form = BatchForm(self._files(), request.POST)
        if not form.is_valid():
            return self._form(form, status=422)
        made = self.attempt(
            form,
            lambda: services.batch_create(
                project=self.project,
                input_file_id=form.cleaned_data["file"],
                endpoint=form.cleaned_data["endpoint"],
                user_id=self.request.user.pk,
                by=self.auth.actor_label,
            ),
        )
        if made is None:
            return self._form(form, status=422)
        return self.done(self.project_path("batch", made.public_id))

    def _files(self) -> list[File]:
        return list(data.files(self.project.pk, purpose=Purpose.BATCH).order_by("-pk")[:FILES_SHOWN])

    def _form(self, form: BatchForm, *, status: int = 200) -> HttpResponseBase:
        room = limits.room_for(self.tenant.pk)
        return self.page(
            {
                "form": form,
                "has_files": bool(form.fields["file"].choices),  # type: ignore[attr-defined]
                "may_upload": self.can("files.write"),
                "upload_url": self.project_path("batch_upload"),
                "most": min(room.next_bytes, limits.BATCH_BYTES),
                "most_lines": MAX_LINES,
                "file_bytes": limits.BATCH_BYTES,
                "waiting": waiting_limit(),
                "hours": WINDOW_SECONDS // 3600,
                "crumbs": [{"label": _("Batches"), "href": self.project_path("batches")}],
            },
            status=status,
        )


class BatchUpload(Upload):
    """Take a file of calls in, then go on with the form."""

    section = "batches"
    template_name = "console/batch_upload.html"
    purpose = Purpose.BATCH
    accept = ".jsonl"

    def after(self, file: File) -> HttpResponseBase:
        """To the form, with the file chosen."""
        return self.done(f"{self.project_path('batch_new')}?file={file.public_id}")

    def crumbs(self) -> list[dict[str, str]]:
        """Above the form."""
        return [
            {"label": _("Batches"), "href": self.project_path("batches")},
            {"label": _("New batch"), "href": self.project_path("batch_new")},
        ]


class BatchPage(ConsoleView):
    """One batch: counts, cost, failures by code, its files; live while it runs."""

    section = "batches"
    required_scopes = {"GET": READ}
    template_name = "console/batch.html"

    def get(self, request: HttpRequest, batch: str) -> HttpResponseBase:
        """Show it."""
        found = selectors.batch_get(self.project.pk, batch)
        more = len(found.errors) - PROBLEMS_SHOWN
        return self.page(
            {
                "batch": found,
                "live": not found.is_final,
                "done": found.ended_lines / found.total if found.total else None,
                "left": found.total - found.ended_lines,
                "codes": sorted(found.codes.items(), key=lambda pair: (-pair[1], pair[0])),
                "problems": found.errors[:PROBLEMS_SHOWN],
                "more_problems": ngettext(
                    "%(n)s more. GET /v1/batches/%(id)s lists it.",
                    "%(n)s more. GET /v1/batches/%(id)s lists them.",
                    more,
                )
                % {"n": more, "id": found.public_id}
                if more > 0
                else "",
                "files": self._files(found),
                "can_cancel": self.can(MAKE) and found.state in (Batch.State.VALIDATING, Batch.State.IN_PROGRESS),
                "cancel_url": self.project_path("batch_cancel", found.public_id),
                "billing_url": self.org_path("billing"),
                "again_url": self._again(found),
                "crumbs": [{"label": _("Batches"), "href": self.project_path("batches")}],
            }
        )

    def _files(self, batch: Batch) -> list[dict[str, Any]]:
        """What can be downloaded."""
        found = []
        for kind, label, file in (
            ("output", _("Answers"), batch.output_file),
            ("errors", _("Failed lines"), batch.error_file),
            ("input", _("Calls"), batch.input_file),
        ):
            if file is not None and file.deleted_at is None:
                href = self.project_path("batch_file", batch.public_id, kind)
                found.append({"label": label, "file": file, "href": href})
        return found

    def _again(self, batch: Batch) -> str:
        """The form with the same file, where it can still be read and nothing is wrong with it."""
        if self.can(MAKE) and batch.state == Batch.State.FAILED:
            return self.project_path("batch_new")
        if not self.can(MAKE) or batch.input_file.deleted_at is not None or not batch.is_final:
            return ""
        return f"{self.project_path('batch_new')}?file={batch.input_file.public_id}"


class BatchFile(Download):
    """One of its files, as a download."""

    section = "batches"
    required_scopes = {"GET": "files.read"}

    def get(self, request: HttpRequest, batch: str, kind: str) -> HttpResponseBase:
        """Send it."""
        found = selectors.batch_get(self.project.pk, batch)
        files = {"output": found.output_file, "errors": found.error_file, "input": found.input_file}
        file = files.get(kind)
        if file is None or file.deleted_at is not None:
            raise NotFound.of(kind)
        try:
            stream = storage.open_read(file.storage_key)
        except FileNotFoundError as error:
            raise NotFound.of(kind) from error
        return attachment(
            request,
            storage.chunks_of(stream),
            filename=file.filename,
            content_type="application/octet-stream",
            size=file.bytes,
        )


class BatchCancel(ConsoleView):
    """Stop a batch."""

    section = "batches"
    required_scopes = {"POST": MAKE}

    def post(self, request: HttpRequest, batch: str) -> HttpResponseBase:
        """Ask for it; lines that are being answered stop within seconds."""
        found = selectors.batch_get(self.project.pk, batch)
        services.batch_cancel(batch=found)
        return self.done(self.project_path("batch", found.public_id))
