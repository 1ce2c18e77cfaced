"""Datasets: the list, one at a version (findings, rows, labels, versions), fixes."""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _

from billing.selectors.subscriptions import entitlement_for
from console import dataset_page, dataset_rows
from console.columns_form import TASK_WORDS
from console.paging import page_number, page_of
from console.views.base import ConsoleView
from console.views.files import SAMPLE
from data import selectors, services
from data.columns import CLASSIFICATION
from data.models import Dataset, DatasetVersion, File
from data.roles import learnt_by
from kit.errors import Conflict
from registry.selectors import bases

MOST_FILES = 50


def versions_of(dataset: Dataset) -> list[DatasetVersion]:
    """Newest first."""
    return list(selectors.versions(dataset).order_by("-number"))


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
        newest = selectors.versions_newest(page.rows)
        rows = [
            {"dataset": d, "version": newest.get(d.pk), "href": self.project_path("dataset", d.public_id)}
            for d in page.rows
        ]
        files = selectors.files_unused(self.project.pk)
        total, files = files.count(), files[:MOST_FILES]
        return self.page(
            {
                "page": page,
                "rows": rows,
                "files": [{"file": f, "href": self.project_path("file", f.public_id)} for f in files],
                "more_files": total if total > MOST_FILES else 0,
                "deleted": selectors.deleted(self.project.pk).count(),
                "deleted_url": self.project_path("deleted"),
                "busy": any(f.status == "uploaded" for f in files)
                or any(v.state == "building" for v in newest.values()),
                "new_url": self.project_path("dataset_new"),
                "sample_url": self.project_path("dataset_sample") if SAMPLE.exists() else "",
            }
        )


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
        offered = bases(plan=entitlement_for(self.tenant.pk).plan)
        context: dict[str, Any] = {
            "labelled": version.task == CLASSIFICATION,
            "trainable": any(learnt_by(version.task, base.tasks) for base in offered),
            "task": TASK_WORDS.get(version.task, version.task),
            "dataset": found,
            "version": version,
            "versions": versions,
            "newest": versions[0],
            "file": file,
            "applied": [str(dataset_page.FIX_VERBS.get(fix, fix)) for fix in applied],
            "split_rows": [(name, version.splits.get(name, 0)) for name in dataset_rows.SPLITS],
            "left_out": dataset_page.left_out(version),
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
            if wanted.row is not None and "page" not in request.GET:
                return self._to_row(request, version, wanted, file)
            context |= self._rows(request, version, wanted, file, findings)
        if tab == "columns":
            context |= _columns(version, file)
        return self.page(context)

    def _to_row(
        self, request: HttpRequest, version: DatasetVersion, wanted: dataset_rows.Filter, file: File | None
    ) -> HttpResponseBase:
        """Off to the page on which a row stands."""
        query = request.GET.copy()
        query["row"] = str(wanted.row)
        query["page"] = str(dataset_rows.page_of_row(version, wanted.where(file), wanted.row or 0))
        return HttpResponseRedirect(f"{request.path}?{query.urlencode()}#r{wanted.row}")

    def _rows(
        self,
        request: HttpRequest,
        version: DatasetVersion,
        wanted: dataset_rows.Filter,
        file: File | None,
        findings: list[dataset_page.Found],
    ) -> dict[str, Any]:
        """What the rows tab shows."""
        page, stopped = dataset_rows.rows_page(
            version, wanted, page_number(request.GET.get("page")), file=file, findings=findings
        )
        listed = {finding.code: finding.title for finding in findings if finding.rows}
        return {
            "filter": wanted,
            "rows": page,
            "lost": wanted.row is not None and not any(row.here for row in page.rows),
            "splits": [(name, version.splits.get(name, 0)) for name in dataset_rows.SPLITS],
            "label_names": sorted(version.labels.items()),
            "chips": wanted.chips(listed),
            "bins": dataset_rows.length_bins(version),
            "stopped": stopped,
            "finding_names": sorted(listed.items(), key=lambda pair: pair[1]),
        }

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
            "columns": (_("Labels and lengths") if version.task == CLASSIFICATION else _("Lengths"), None),
            "versions": (_("Versions"), len(versions)),
        }
        return [
            {"label": label, "count": count, "href": f"?tab={key}{pinned}", "current": key == tab}
            for key, (label, count) in names.items()
        ]


def _columns(version: DatasetVersion, file: File | None) -> dict[str, Any]:
    """What the tab of labels and lengths shows; versions written before profiles were kept show their file's."""
    profile = version.profile or (file.profile if file is not None else {})
    by_count = sorted(version.labels.items(), key=lambda pair: (-pair[1], pair[0]))
    return {
        "labels": dataset_page.label_counts({"labels": [{"label": k, "count": v} for k, v in by_count]}),
        "lengths": dataset_page.length_chart(profile),
        "percentiles": dataset_page.length_rows(profile),
        "copies": profile.get("duplicates", {}),
    }


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
