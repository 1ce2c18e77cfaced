"""Files: upload, findings and their rows, columns, the way to a dataset."""

from pathlib import Path

from django import forms
from django.conf import settings
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from console import dataset_page
from console.columns_form import TASK_WORDS, ColumnsForm
from console.paging import whole
from console.views.base import ConsoleView, Download
from data import limits, selectors, services
from data.columns import CLASSIFICATION
from data.downloads import finding_rows
from data.models import File
from data.rows import RowFilter
from data.services.datasets import Source
from kit.errors import ApiError
from kit.streams import attachment
from tenants.access import Membership

CHUNK = 1 << 20
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


class Upload(ConsoleView):
    """Take a file in. The bytes go to storage before the tenant's transaction opens."""

    section = "datasets"
    required_scopes = {"GET": "files.write", "POST": "files.write"}
    template_name = "console/dataset_new.html"
    stored: services.Stored | None = None
    refused: ApiError | None = None

    def before_scope(self, request: HttpRequest, seat: Membership) -> None:
        """Stream the upload to storage; past the plan's size nothing is kept."""
        upload = request.FILES.get("file")
        if request.method != "POST" or upload is None or "files.write" not in seat.scopes:
            return
        try:
            room = limits.room_for(seat.tenant_id)
            room.check(upload.size or 0)
            self.stored = services.file_store(
                tenant_id=seat.tenant_id, chunks=upload.chunks(CHUNK), limit=room.next_bytes
            )
        except ApiError as error:
            self.refused = error

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """The drop zone."""
        return self._form(UploadForm())

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """Make the file and go to its page, where the check is shown."""
        form = UploadForm(request.POST, request.FILES)
        if self.refused is not None:
            form.is_valid()
            form.add_error("file", self.refused.message)
        valid = form.is_valid()
        if self.stored is None:
            return self._form(form, status=422)
        if not valid:
            self.stored.discard()
            return self._form(form, status=422)
        stored, name = self.stored, str(form.cleaned_data["file"].name)
        made = self.attempt(
            form,
            lambda: services.file_create(project_id=self.project.pk, filename=name, purpose="fine-tune", stored=stored),
        )
        if made is None:
            stored.discard()
            return self._form(form, status=422)
        return self.done(self.project_path("file", made.public_id))

    def _form(self, form: UploadForm, *, status: int = 200) -> HttpResponseBase:
        room = limits.room_for(self.tenant.pk)
        return self.page(
            {
                "form": form,
                "accept": ACCEPTED,
                "room": room,
                "crumbs": [{"label": _("Datasets"), "href": self.project_path("datasets")}],
                "sample_url": self.project_path("dataset_sample") if SAMPLE.exists() else "",
            },
            status=status,
        )


class Sample(ConsoleView):
    """Take the sample dataset in, as if it had been uploaded."""

    section = "datasets"
    required_scopes = {"POST": "files.write"}
    stored: services.Stored | None = None

    def before_scope(self, request: HttpRequest, seat: Membership) -> None:
        """Copy the sample to storage."""
        if request.method == "POST" and SAMPLE.exists() and "files.write" in seat.scopes:
            self.stored = services.file_store(
                tenant_id=seat.tenant_id,
                chunks=[SAMPLE.read_bytes()],
                limit=limits.room_for(seat.tenant_id).next_bytes,
            )

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """Make the file and go to its page."""
        if self.stored is None:
            raise Http404
        try:
            made = services.file_create(
                project_id=self.project.pk, filename=SAMPLE.name, purpose="fine-tune", stored=self.stored
            )
        except ApiError:
            self.stored.discard()
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

    required_scopes = {"POST": "files.write"}

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


class FileDelete(ConsoleView):
    """Forget a file."""

    section = "datasets"
    required_scopes = {"POST": "files.write"}

    def post(self, request: HttpRequest, file: str) -> HttpResponseBase:
        """Do it."""
        found = selectors.file_get(self.project.pk, file)
        services.file_delete(file=found)
        return self.done(self.project_path("datasets"), _("%(name)s was deleted.") % {"name": found.filename})


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
