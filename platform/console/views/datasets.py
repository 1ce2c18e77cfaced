"""Files and datasets: upload, findings, columns, rows, fixes, versions."""

from pathlib import Path
from typing import Any

from django import forms
from django.conf import settings
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from console import dataset_page, dataset_rows
from console.paging import page_number, page_of
from console.views.base import ConsoleView
from data import limits, selectors, services
from data.models import Dataset, DatasetVersion, File
from data.services.datasets import Source
from kit.errors import ApiError, Conflict
from tenants.access import Membership

CHUNK = 1 << 20
SAMPLE = Path(settings.ROOT) / "examples" / "support_intents.csv"
ACCEPTED = ".csv,.tsv,.txt,.jsonl,.json,.parquet"


def versions_of(dataset: Dataset) -> list[DatasetVersion]:
    """Newest first."""
    return list(selectors.versions(dataset).order_by("-number"))


class UploadForm(forms.Form):
    """A file to take in."""

    file = forms.FileField(
        label=gettext_lazy("File"),
        error_messages={
            "required": gettext_lazy("Choose a file. CSV, TSV, JSONL and Parquet can be read."),
            "empty": gettext_lazy("The file is empty. Upload a file with at least one row."),
        },
    )


class Datasets(ConsoleView):
    """All datasets, and files that are in none yet."""

    section = "datasets"
    required_scopes = {"GET": "datasets.read"}
    template_name = "console/datasets.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Show the lists; they refresh themselves while something is being checked."""
        page = page_of(
            selectors.datasets(self.project.pk).order_by("-id"),
            page_number(request.GET.get("page")),
        )
        newest = {}
        for version in DatasetVersion.objects.filter(dataset__in=[d.pk for d in page.rows]).order_by("number"):
            newest[version.dataset_id] = version
        rows = [
            {"dataset": d, "version": newest.get(d.pk), "href": self.project_path("dataset", d.public_id)}
            for d in page.rows
        ]
        used = DatasetVersion.objects.filter(project=self.project, dataset__deleted_at=None).values("sources__file")
        files = selectors.files(self.project.pk, purpose="fine-tune").exclude(pk__in=used).order_by("-id")[:50]
        return self.page(
            {
                "page": page,
                "rows": rows,
                "files": [{"file": f, "href": self.project_path("file", f.public_id)} for f in files],
                "busy": any(f.status == "uploaded" for f in files)
                or any(v.state == "building" for v in newest.values()),
                "new_url": self.project_path("dataset_new"),
                "sample_url": self.project_path("dataset_sample") if SAMPLE.exists() else "",
            }
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
        if not form.is_valid() or self.stored is None:
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
        made = services.file_create(
            project_id=self.project.pk, filename=SAMPLE.name, purpose="fine-tune", stored=self.stored
        )
        return self.done(self.project_path("file", made.public_id))


class ColumnsForm(forms.Form):
    """Which column has which role."""

    def __init__(self, file: File, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = [guess["column"] for guess in file.columns]
        choices = [(name, name) for name in names]
        roles = file.roles
        for role, label in (("text", _("Text")), ("label", _("Label")), ("split", _("Split"))):
            optional = role == "split"
            self.fields[role] = forms.ChoiceField(
                label=label,
                choices=[("", _("none") if optional else _("choose a column")), *choices],
                required=not optional,
                initial=roles.get(role, ""),
                help_text=_("A column with train, validation and test.") if optional else "",
                error_messages={"required": _("Choose the column.")},
            )

    def mapping(self) -> dict[str, str]:
        """Role → column, without the empty ones."""
        return {role: column for role, column in self.cleaned_data.items() if column}


class FilePage(ConsoleView):
    """One file: what was found in it, its columns, and the way to a dataset."""

    section = "datasets"
    required_scopes = {"GET": "files.read"}
    template_name = "console/file.html"

    def get(self, request: HttpRequest, file: str) -> HttpResponseBase:
        """Show it."""
        found = selectors.file_get(self.project.pk, file)
        return self.show(found, ColumnsForm(found))

    def show(self, file: File, form: ColumnsForm, *, status: int = 200) -> HttpResponseBase:
        """The page, with a columns form that may carry errors."""
        findings = dataset_page.findings_of(file)
        shown = self.request.GET.get("finding", "")
        blocking = [f for f in findings if f.level == "blocking"]
        return self.page(
            {
                "file": file,
                "findings": findings,
                "rows": self._rows(file, shown) if shown else None,
                "shown": next((f for f in findings if f.code == shown), None),
                "stuck": [f for f in blocking if not f.fix],
                "fixes": list(dict.fromkeys((f.fix, f.verb, f.level) for f in findings if f.fix)),
                "columns_form": form,
                "labels": dataset_page.label_counts(file.profile),
                "lengths": dataset_page.length_chart(file.profile),
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
        after = self.request.GET.get("after", "")
        return selectors.file_rows(
            file,
            after=int(after) if after.isascii() and after.isdigit() and len(after) < 12 else 0,
            where=selectors.RowFilter(rows=selectors.rows_of_finding(file, code)),
        )


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


class DatasetPage(ConsoleView):
    """One dataset at one version: findings, rows, columns, versions."""

    section = "datasets"
    required_scopes = {"GET": "datasets.read"}
    template_name = "console/dataset.html"
    TABS = ("findings", "rows", "columns", "versions")

    def get(self, request: HttpRequest, dataset: str) -> HttpResponseBase:
        """Show the tab the address asks for."""
        found = selectors.dataset_get(self.project.pk, dataset)
        versions = versions_of(found)
        if not versions:
            raise Http404
        version = self._version(request, versions)
        source = version.sources.select_related("file").order_by("position").first()
        file = source.file if source is not None else None
        applied = dataset_page.applied_fixes(version)
        findings = dataset_page.findings_of(file, applied) if file is not None else []
        tab = request.GET.get("tab", "findings")
        tab = tab if tab in self.TABS else "findings"
        context = {
            "dataset": found,
            "version": version,
            "versions": versions,
            "newest": versions[0],
            "file": file,
            "applied": [str(dataset_page.FIX_VERBS.get(fix, fix)) for fix in applied],
            "findings": findings,
            "tab": tab,
            "tabs": self._tabs(request, tab, version, findings, versions),
            "can_write": self.can("datasets.write"),
            "crumbs": [{"label": _("Datasets"), "href": self.project_path("datasets")}],
            "fix_url": self.project_path("dataset_fix", found.public_id),
            "delete_url": self.project_path("dataset_delete", found.public_id),
            "job_url": f"{self.project_path('job_new')}?data={version.public_id}",
        }
        if tab == "rows" and version.state == "ready":
            wanted = dataset_rows.Filter.read(request.GET)
            context |= {
                "filter": wanted,
                "rows": dataset_rows.rows_page(version, wanted, page_number(request.GET.get("page"))),
                "splits": dataset_rows.SPLITS,
                "label_names": sorted(version.labels),
            }
        if tab == "columns" and file is not None:
            context |= {
                "labels": dataset_page.label_counts(
                    {"labels": [{"label": k, "count": v} for k, v in _by_count(version.labels)]}
                ),
                "lengths": dataset_page.length_chart(file.profile),
            }
        return self.page(context)

    def _version(self, request: HttpRequest, versions: list[DatasetVersion]) -> DatasetVersion:
        wanted = request.GET.get("version", "")
        if not wanted:
            return next((v for v in versions if v.state == "ready"), versions[0])
        for version in versions:
            if str(version.number) == wanted:
                return version
        raise Http404

    def _tabs(
        self, request: HttpRequest, tab: str, version: DatasetVersion, findings: list[Any], versions: list[Any]
    ) -> list[dict[str, Any]]:
        pinned = f"&version={version.number}" if request.GET.get("version") else ""
        names = {
            "findings": (_("Findings"), len([f for f in findings if not f.fixed])),
            "rows": (_("Rows"), version.rows),
            "columns": (_("Labels and lengths"), None),
            "versions": (_("Versions"), len(versions)),
        }
        return [
            {"label": label, "count": count, "href": f"?tab={key}{pinned}", "current": key == tab}
            for key, (label, count) in names.items()
        ]


def _by_count(labels: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(labels.items(), key=lambda pair: (-pair[1], pair[0]))


class DatasetFix(ConsoleView):
    """Apply fixes: a new version, the old one stays."""

    section = "datasets"
    required_scopes = {"POST": "datasets.write"}

    def post(self, request: HttpRequest, dataset: str) -> HttpResponseBase:
        """Make the version and show it being written."""
        found = selectors.dataset_get(self.project.pk, dataset)
        parent = versions_of(found)[0]
        if parent.state == "building":
            raise Conflict(_("A version is being written. Try again when it is ready."))
        source = parent.sources.select_related("file").order_by("position").first()
        findings = dataset_page.findings_of(source.file) if source is not None else []
        only = request.POST.get("only", "")
        wanted = [finding for finding in findings if not only or finding.id == only]
        steps = dataset_page.steps_of(request.POST.getlist("fix"), wanted)
        version = services.version_create(dataset=found, parent=parent, fixes=steps)
        message = _("Version %(n)s is being written. Version %(old)s stays as it is.") % {
            "n": version.number,
            "old": parent.number,
        }
        return self.done(f"{self.project_path('dataset', found.public_id)}?tab=versions", message)


class DatasetDelete(ConsoleView):
    """Hide a dataset; models made from it stay."""

    section = "datasets"
    required_scopes = {"POST": "datasets.write"}

    def post(self, request: HttpRequest, dataset: str) -> HttpResponseBase:
        """Do it."""
        found = selectors.dataset_get(self.project.pk, dataset)
        services.dataset_delete(dataset=found)
        return self.done(self.project_path("datasets"), _("%(name)s was deleted.") % {"name": found.name})
