"""Models: the list, the report page, aliases, weights."""

import tempfile
import zipfile
from typing import IO, Any, cast

from django import forms
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.selectors.features import WEIGHTS, feature_granted, feature_needed
from billing.selectors.subscriptions import entitlement_for
from console import reports
from console.paging import page_number, page_of, page_with, whole
from console.playing.faces import FACES
from console.report_tables import TABLES
from console.views.base import ConsoleView, Download
from console.views.names import short_name
from data import selectors as data
from kit import storage
from kit.csvs import csv_response
from kit.ids import parse_id, public_id
from kit.streams import attachment
from registry import selectors, services
from registry.models import Model, ModelVersion
from serving.feedback import judged_of_version
from serving.selectors import deployment_of_model, deployment_of_version
from training.selectors.sweeps import versions_of_losers

MOST_VERSIONS = 10**9


def model_of(view: ConsoleView, public: str) -> Model:
    """A model of the page's project."""
    found = selectors.models(view.project.pk).filter(pk=parse_id(Model.prefix, public)).first()
    if found is None:
        raise Http404
    return found


def version_shown(request: HttpRequest, model: Model) -> ModelVersion:
    """The version the address asks for, else the newest."""
    wanted = request.GET.get("version", "")
    versions = selectors.versions(model)
    if wanted:
        found = versions.filter(number=whole(wanted, most=MOST_VERSIONS) or 0).first()
    else:
        found = selectors.version_newest(model) or versions.first()
    if found is None:
        raise Http404
    return found


def scores_of(version: ModelVersion | None) -> dict[str, Any]:
    """A version's main figure and the baseline's, and what they are of."""
    metrics = version.metrics if version is not None else {}
    name = "perplexity" if "perplexity" in metrics else "macro_f1"
    words = {"perplexity": _("perplexity"), "macro_f1": _("macro-F1")}
    return {"value": metrics.get(name), "baseline": metrics.get(f"baseline_{name}"), "name": words[name],
            "ece": metrics.get("ece")}  # fmt: skip


class AliasForm(forms.Form):
    """A movable name."""

    alias = forms.CharField(
        label=gettext_lazy("Alias"), max_length=100, help_text=gettext_lazy("name@stage, for example triage@prod.")
    )


class Models(ConsoleView):
    """All models of the project, and the bases it may tune."""

    section = "models"
    required_scopes = {"GET": "models.read"}
    template_name = "console/models.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Show them; of sweeps the winner, and what somebody has named or put live."""
        found, everything = selectors.models(self.project.pk), "trials" in request.GET
        aside = selectors.models_aside(self.project.pk, versions_of_losers(self.project.pk))
        kept_back = aside.count()
        if kept_back and not everything:
            found = found.exclude(pk__in=aside.values("pk"))
        page = page_of(found, page_number(request.GET.get("page")))
        newest = selectors.versions_newest(page.rows)
        aliases: dict[Any, list[str]] = {}
        for alias in selectors.aliases(self.project.pk):
            aliases.setdefault(alias.version.model_id, []).append(str(alias))
        rows = [
            {
                "model": model,
                "short": short_name(model),
                "version": newest.get(model.pk),
                "score": scores_of(newest.get(model.pk)),
                "aliases": aliases.get(model.pk, []),
                "href": self.project_path("model", model.public_id),
            }
            for model in page.rows
        ]
        plan = entitlement_for(self.tenant.pk).plan
        return self.page(
            {
                "page": page_with(page, rows),
                "kept_back": kept_back,
                "everything": everything,
                "bases": selectors.bases(plan=plan),
                "new_url": self.project_path("job_new"),
                "deleted": selectors.models_deleted(self.project.pk).count(),
                "deleted_url": self.project_path("models_deleted"),
            }
        )


class ModelPage(ConsoleView):
    """One model: its report, where it comes from, its names."""

    section = "models"
    required_scopes = {"GET": "models.read", "POST": "models.write"}
    template_name = "console/model.html"

    def get(self, request: HttpRequest, model: str) -> HttpResponseBase:
        """Show the report."""
        return self._show(request, model_of(self, model), AliasForm())

    def post(self, request: HttpRequest, model: str) -> HttpResponseBase:
        """Point an alias at the version shown."""
        found = model_of(self, model)
        version = version_shown(request, found)
        form = AliasForm(request.POST)
        if form.is_valid():
            alias = form.cleaned_data["alias"]
            made = self.attempt(form, lambda: services.alias_set(project=self.project, alias=alias, version=version))
            if made is not None:
                text = _("%(alias)s points at this version now.") % {"alias": made}
                return self.done(self.project_path("model", found.public_id), text)
        return self._show(request, found, form, status=422)

    def _show(self, request: HttpRequest, model: Model, form: AliasForm, *, status: int = 200) -> HttpResponseBase:
        version = version_shown(request, model)
        sort, shown = request.GET.get("sort", "f1"), request.GET.get("class", "")
        whole_matrix = request.GET.get("matrix") == "all"
        served = deployment_of_version(version.pk)
        deployment = served or deployment_of_model(model.pk)
        here = self.project_path("model", model.public_id)
        context = {
            "model": model,
            "short": short_name(model),
            "version": version,
            "versions": [{"row": one, "score": scores_of(one)} for one in selectors.versions(model)[:50]],
            "report": reports.report_of(version.report, sort=sort, shown=shown, whole=whole_matrix)
            if version.report
            else None,
            "sort": sort,
            "most_cells": reports.MOST_CELLS,
            "csv_url": f"{self.project_path('model_csv', model.public_id)}?version={version.number}",
            "compare_url": self._compare_url(version),
            "lineage": self._lineage(version),
            "aliases": [a for a in selectors.aliases(self.project.pk) if a.version_id == version.pk],
            "alias_form": form,
            "alias_url": f"{here}?version={version.number}",
            "can_alias": self.can("models.write"),
            "can_delete": self.can("models.write") and deployment is None,
            "delete_url": self.project_path("model_delete", model.public_id),
            "can_deploy": self.can("deployments.write") and served is None and version.state == "ready",
            "judged": judged_of_version(version.pk),
            "deploy_url": self.project_path("deployments"),
            "weights_url": self._weights_url(model, version),
            "crumbs": [{"label": _("Models"), "href": self.project_path("models")}],
        }
        if deployment is not None:
            context["deployment_url"] = self.project_path("deployment", deployment.public_id)
            context["playground_url"] = (
                model.task in FACES and f"{self.project_path('playground')}?model={deployment.public_id}"
            )
        return self.page(context, status=status)

    def _weights_url(self, model: Model, version: ModelVersion) -> str:
        if not feature_granted(WEIGHTS) or version.state != "ready":
            return ""
        return f"{self.project_path('model_weights', model.public_id)}?version={version.number}"

    def _compare_url(self, version: ModelVersion) -> str:
        """The way to this report beside another; nothing while there is only one."""
        others = selectors.reported_versions(self.project.pk).exclude(pk=version.pk)
        if not version.report or not others.exists():
            return ""
        return f"{self.project_path('model_compare')}?b={version.public_id}"

    def _lineage(self, version: ModelVersion) -> list[tuple[str, str, str]]:
        facts = selectors.lineage(version)
        rows = [(_("Base"), facts["base"], ""), (_("Base hash"), facts["base_sha256"][:16], "")]
        if facts["job_id"]:
            job = public_id("ftjob-", facts["job_id"])
            rows.append((_("Job"), job, self.project_path("job", job)))
        dataset = data.version_by_id(facts["dataset_version_id"])
        if dataset is not None:
            href = f"{self.project_path('dataset', dataset.dataset.public_id)}?version={dataset.number}"
            rows.append((_("Dataset"), str(dataset), href if dataset.dataset.deleted_at is None else ""))
        if facts["dataset_sha256"]:
            rows.append((_("Dataset hash"), facts["dataset_sha256"][:16], ""))
        return [*rows, (_("Artefact hash"), facts["artefact_sha256"][:16], "")]


class ModelCsv(Download):
    """A table of the report as a file: classes unless the address asks for another."""

    section = "models"
    required_scopes = {"GET": "models.read"}

    def get(self, request: HttpRequest, model: str) -> HttpResponseBase:
        """Send it."""
        found = model_of(self, model)
        name = request.GET.get("table", "classes")
        table = TABLES.get(name)
        if table is None:
            raise Http404
        head, lines = table(version_shown(request, found).report)
        return csv_response(f"{short_name(found).replace(':', '-')}-{name}.csv", head, lines)


class ModelWeights(Download):
    """The model's files as one archive: they are the customer's."""

    section = "models"
    required_scopes = {"GET": "models.read"}

    def get(self, request: HttpRequest, model: str) -> HttpResponseBase:
        """Send it; safetensors do not compress, so they are stored as they are."""
        found = model_of(self, model)
        version = version_shown(request, found)
        feature_needed(WEIGHTS)
        archive = tempfile.TemporaryFile()  # noqa: SIM115 - the answer closes it
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
            for name in version.files:
                with packed.open(name, "w", force_zip64=True) as target:
                    for chunk in storage.read_chunks(f"{version.artefact_prefix}/{name}"):
                        target.write(chunk)
        size = archive.tell()
        archive.seek(0)
        name = f"{short_name(found).replace(':', '-')}-v{version.number}.zip"
        pieces = storage.chunks_of(cast("IO[bytes]", archive))
        return attachment(request, pieces, filename=name, content_type="application/zip", size=size)
