"""The way in: from a session to an organisation, to a project's overview; and search."""

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from console import overview, searching
from console.views.base import ConsoleView
from console.views.letters import AnswerForm
from customers.services.surveys import survey_ask
from tenants.models import User
from tenants.services.visits import visit_end
from tenants.visiting import COOKIE, Visitor, visitor_of


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
        return self.page({**overview.context(self), "survey": self._survey()})

    def _survey(self) -> AnswerForm | None:
        """The one question that is asked here now and then, of members and not of staff who look."""
        user = self.request.user
        if isinstance(self.seat, Visitor) or self.tenant.status != "active" or not isinstance(user, User):
            return None
        return AnswerForm() if self.request.method == "GET" and survey_ask(user=user) else None


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


@require_POST
def visit_leave(request: HttpRequest) -> HttpResponse:
    """End a visit of staff and go back to where it was begun; without one, to the front page."""
    visit, user = visitor_of(request), request.user
    response = redirect("/")
    if visit is not None and isinstance(user, User):
        visit_end(tenant_id=visit.tenant_id, visit_id=visit.member_id, user=user)
        response = redirect(reverse("admin:tenants_tenant_change", args=[visit.tenant_id]))
    response.delete_cookie(COOKIE, samesite="Strict")
    return response
