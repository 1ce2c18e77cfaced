"""The way in: from a session to an organisation, to a project's overview; and search."""

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from console import overview, searching
from console.views.base import ConsoleView


class Organisation(ConsoleView):
    """An organisation's address leads to its project last worked in."""

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Go there."""
        request.session["organisation"] = self.tenant.slug
        return redirect(self.project_path("overview"))


class Overview(ConsoleView):
    """The dashboard: what to do next, what needs you, what runs, what it costs."""

    section = "overview"
    template_name = "console/overview.html"

    def get(self, request: HttpRequest) -> HttpResponseBase:
        """Show it."""
        return self.page(overview.context(self))


@require_safe
def search(request: HttpRequest) -> HttpResponse:
    """Objects first, then pages and commands. JSON for the palette, a page without script."""
    query = request.GET.get("q", "").strip()[:100]
    where = request.GET.get("in", "")
    results = searching.find(request, query, where)
    if request.GET.get("format") == "json":
        return JsonResponse({"results": [r.as_json() for r in results]})
    context: dict[str, Any] = {"query": query, "where": where, "results": results}
    return render(request, "public/search.html", context)
