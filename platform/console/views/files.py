"""Files: upload, findings and their rows, columns, the way to a dataset."""

from pathlib import Path
from typing import Any

from django import forms
from django.conf import settings
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from console import dataset_page
from console.columns_form import TASK_WORDS, ColumnsForm
from console.paging import whole
from console.views.base import ConsoleView, Download, Outside
from data import limits, selectors, services
from data.columns import CLASSIFICATION
from data.downloads import finding_rows
from data.models import WRITTEN, File, Purpose
from data.receiving import Intake
from data.rows import RowFilter
from data.services.datasets import Source
from kit.errors import ApiError
from kit.streams import attachment
from tenants.access import Membership, memberships_of

SAMPLE = Path(settings.ROOT) / "examples" / "support_intents.csv"
ACCEPTED = ".csv,.tsv,.txt,.jsonl,.json,.parquet"


class UploadForm(forms.Form):
    """A file to take in."""

    file = forms.FileField(
        label=gettext_lazy("File"),
        error_messages={
            "required": gettext_lazy("Choose a file. CSV, TSV, JSONL and Parquet can be read."),
            "empty": gettext_lazy("The file is empty. Upload a file with at least one row."),
        },
    )


@method_decorator(csrf_exempt, name="dispatch")
class Upload(ConsoleView):
    """Take a file in. The bytes go to storage as they arrive, before the tenant's transaction opens.

    Exempt from the middleware's check against cross-site posts, which would read the form first; `dispatch` has it.
    """

    section = "datasets"
    required_scopes = {"GET": "files.write", "POST": "files.write"}
    template_name = "console/dataset_new.html"
    purpose: str = Purpose.FINE_TUNE
    accept = ACCEPTED
    intake: Intake | None = None
    made: File | None = None

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Receive the file before anything reads the form, the check against cross-site posts included, and keep it
        only if a row points at it in the end."""
        seat = self._sender(request, kwargs["org"])
        if seat is not None:
            limit = limits.room_for(seat.tenant_id).next_bytes
            self.intake = Intake(tenant_id=seat.tenant_id, field="file", limit=limit, swallow=True)
            request.upload_handlers = [self.intake]
        kept = False
        try:
            answer: HttpResponseBase = csrf_protect(super().dispatch)(request, *args, **kwargs)
            kept = self.made is not None and answer.status_code < 400
            return answer
        finally:
            if self.intake is not None and not kept:
                self.intake.drop()

    def _sender(self, request: HttpRequest, org: str) -> Membership | None:
        """The member who may upload here. Anybody else's form stays small and is not stored."""
        if request.method != "POST" or not request.user.is_authenticated:
            return None
        seat = next((seat for seat in memberships_of(request.user.pk) if seat.tenant_slug == org), None)
        return seat if seat is not None and "files.write" in seat.scopes and seat.tenant_status == "active" else None

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """The drop zone."""
        return self._form(UploadForm())

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """Make the file and go to its page, where the check is shown."""
        form = UploadForm(request.POST, request.FILES)
        stored = self.intake.stored if self.intake is not None else None
        if form.is_valid() and self.intake is not None and self.intake.refused is not None:
            form.add_error("file", self.intake.refused.message)
        if stored is None or not form.is_valid():
            return self._form(form, status=422)
        name = str(form.cleaned_data["file"].name)
        self.made = self.attempt(
            form,
            lambda: services.file_create(
                project_id=self.project.pk, filename=name, purpose=self.purpose, stored=stored
            ),
        )
        if self.made is None:
            return self._form(form, status=422)
        return self.after(self.made)

    def after(self, file: File) -> HttpResponseBase:
        """To its page."""
        return self.done(self.project_path("file", file.public_id))

    def crumbs(self) -> list[dict[str, str]]:
        """Above the drop zone."""
        return [{"label": _("Datasets"), "href": self.project_path("datasets")}]

    def _form(self, form: UploadForm, *, status: int = 200) -> HttpResponseBase:
        room = limits.room_for(self.tenant.pk)
        return self.page(
            {
                "form": form,
                "accept": self.accept,
                "room": room,
                "crumbs": self.crumbs(),
                "sample_url": self.project_path("dataset_sample") if SAMPLE.exists() else "",
            },
            status=status,
        )


class Sample(ConsoleView):
    """Take the sample dataset in, as if it had been uploaded."""

    section = "datasets"
    required_scopes = {"POST": "files.write"}

    def post(self, request: HttpRequest) -> HttpResponseBase | Outside:
        """Copy the sample to storage, with no transaction open."""
        if not SAMPLE.exists():
            raise Http404
        room = limits.room_for(self.tenant.pk).next_bytes
        return Outside(
            lambda: services.file_store(tenant_id=self.tenant.pk, chunks=[SAMPLE.read_bytes()], limit=room), self._made
        )

    def _made(self, stored: services.Stored) -> HttpResponseBase:
        """Make the file and go to its page."""
        try:
            made = services.file_create(
                project_id=self.project.pk, filename=SAMPLE.name, purpose="fine-tune", stored=stored
            )
        except ApiError:
            stored.discard()
            raise
        return self.done(self.project_path("file", made.public_id))


class FilePage(ConsoleView):
    """One file: what was found in it, its columns, and the way to a dataset."""

    section = "datasets"
    required_scopes = {"GET": "files.read"}
    template_name = "console/file.html"

    def get(self, request: HttpRequest, file: str) -> HttpResponseBase:
        """Show it."""
        found = selectors.file_get(self.project.pk, file)
        if found.purpose == Purpose.BATCH or found.purpose in WRITTEN:  # nothing of it was looked at
            return redirect(self.project_path("batches"))
        return self.show(found, ColumnsForm(found, task=request.GET.get("as", "")))

    def show(self, file: File, form: ColumnsForm, *, status: int = 200) -> HttpResponseBase:
        """The page, with a columns form that may carry errors."""
        findings = dataset_page.findings_of(file)
        shown = self.request.GET.get("finding", "")
        blocking = [f for f in findings if f.level == "blocking"]
        task = file.task or CLASSIFICATION
        return self.page(
            {
                "file": file,
                "task": TASK_WORDS[task],
                "labelled": task == CLASSIFICATION,
                "read_as": [
                    {"label": words, "href": f"?as={name}#columns", "current": name == form.read_as}
                    for name, words in TASK_WORDS.items()
                ],
                "rows_file_url": self.project_path("file_rows", file.public_id),
                "has_rows": any(f.rows for f in findings),
                "rejected": any(f.rows for f in blocking),
                "findings": findings,
                "rows": self._rows(file, shown) if shown else None,
                "shown": next((f for f in findings if f.code == shown), None),
                "stuck": [f for f in blocking if not f.fix],
                "fixes": dataset_page.fixes_of(findings),
                "columns_form": form,
                "labels": dataset_page.label_counts(file.profile),
                "lengths": dataset_page.length_chart(file.profile),
                "percentiles": dataset_page.length_rows(file.profile),
                "crumbs": [{"label": _("Datasets"), "href": self.project_path("datasets")}],
                "can_write": self.can("datasets.write"),
                "columns_url": self.project_path("file_columns", file.public_id),
                "delete_url": self.project_path("file_delete", file.public_id),
                "dataset_url": self.project_path("file_dataset", file.public_id),
                "job_url": f"{self.project_path('job_new')}?data={file.public_id}",
                "suggested_name": Path(file.filename).stem[:120],
            },
            status=status,
        )

    def _rows(self, file: File, code: str) -> selectors.RowPage:
        """The rows of one finding, as uploaded; `after` goes on."""
        return selectors.file_rows(
            file,
            after=whole(self.request.GET.get("after")) or 0,
            where=RowFilter(rows=selectors.rows_of_finding(file, code)),
        )


class FileRows(Download):
    """The rows that findings name, as a download."""

    section = "datasets"
    required_scopes = {"GET": "files.read"}

    def get(self, request: HttpRequest, file: str) -> HttpResponseBase:
        """CSV for a spreadsheet, or JSON lines."""
        found = finding_rows(
            file=selectors.file_get(self.project.pk, file),
            form=request.GET.get("format", "csv"),
            level=request.GET.get("level"),
            code=request.GET.get("code"),
        )
        return attachment(request, found.pieces, filename=found.filename, content_type=found.content_type)


class FileColumns(FilePage):
    """Choose the columns by hand and check again."""

    required_scopes = {"GET": "files.read", "POST": "files.write"}

    def get(self, request: HttpRequest, file: str) -> HttpResponseBase:
        """Only the form's target."""
        raise Http404

    def post(self, request: HttpRequest, file: str) -> HttpResponseBase:
        """Map, ring the check, show it running."""
        found = selectors.file_get(self.project.pk, file)
        form = ColumnsForm(found, request.POST)
        if form.is_valid():
            made = self.attempt(form, lambda: services.file_map_columns(file=found, mapping=form.mapping()))
            if made is not None:
                return self.done(self.project_path("file", found.public_id))
        return self.show(found, form, status=422)


class FileDataset(ConsoleView):
    """Make a dataset of a file, with the fixes that were ticked."""

    section = "datasets"
    required_scopes = {"POST": "datasets.write"}

    def post(self, request: HttpRequest, file: str) -> HttpResponseBase:
        """Make it and go there."""
        found = selectors.file_get(self.project.pk, file)
        steps = dataset_page.steps_of(request.POST.getlist("fix"), dataset_page.findings_of(found))
        name = request.POST.get("name", "").strip()[:120] or found.filename
        version = services.dataset_create(project_id=self.project.pk, name=name, sources=[Source(found)], fixes=steps)
        return self.done(self.project_path("dataset", version.dataset.public_id))
