"""Two reports of one project beside each other; the address names both."""

from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _

from console import comparison
from console.reports import class_rows, verdict_of
from console.views.base import ConsoleView
from console.views.names import short_name
from registry.models import ModelVersion
from registry.selectors import reported_versions

MOST_CHOICES = 200


class ModelCompare(ConsoleView):
    """Choose two versions, see what differs."""

    section = "models"
    required_scopes = {"GET": "models.read"}
    template_name = "console/compare.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Show them; without an address the two newest."""
        versions = list(reported_versions(self.project.pk)[:MOST_CHOICES])
        known = {version.public_id: version for version in versions}
        newest = versions[0] if versions else None
        b = known.get(request.GET.get("b", "")) or newest
        a = known.get(request.GET.get("a", "")) or next((v for v in versions if v != b), None)
        context: dict[str, Any] = {
            "choices": [(version.public_id, self._choice(version)) for version in versions],
            "a": a,
            "b": b,
            "crumbs": [{"label": _("Models"), "href": self.project_path("models")}],
            "models_url": self.project_path("models"),
            "new_url": self.project_path("job_new"),
        }
        if a is not None and b is not None:
            context |= {
                "sides": [self._side("A", a), self._side("B", b)],
                "same_rows": comparison.same_rows(a, b),
                "figures": comparison.figure_lines(a.report, b.report),
                "classes": comparison.class_lines(a.report, b.report),
                "settings": comparison.setting_lines(a, b),
            }
        return self.page(context)

    def _choice(self, version: ModelVersion) -> str:
        return _("%(name)s, version %(n)s") % {"name": short_name(version.model), "n": version.number}

    def _side(self, letter: str, version: ModelVersion) -> dict[str, Any]:
        verdict, tone = verdict_of(version.report, class_rows(version.report.get("per_class", []), "f1"))
        href = f"{self.project_path('model', version.model.public_id)}?version={version.number}"
        return {"letter": letter, "name": self._choice(version), "href": href, "verdict": verdict, "tone": tone}
