"""Search over everything a person may open: objects of one project, pages of the console, chapters of the docs."""

from itertools import islice
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _

from console import docs, reference, shell
from console.finders import FINDERS
from console.results import Result, matches
from tenants import selectors
from tenants.access import Membership
from tenants.scope import tenant_scope
from tenants.visiting import seat_of

MOST = 20
MOST_OF_A_KIND = 8


def find(request: HttpRequest, query: str, where: str) -> list[Result]:
    """Up to 20 results; `where` is `<org slug>/<project slug>` of the page the reader came from."""
    found: list[Result] = []
    org, _slash, project = where.partition("/")
    if request.user.is_authenticated and org:
        seat = seat_of(request, org)
        if seat is not None:
            found += _inside(seat, project, query)
    found += [r for r in _documents() if matches(query, r.name)]
    return found[:MOST]


def _inside(seat: Membership, project_slug: str, query: str) -> list[Result]:
    found: list[Result] = []
    with tenant_scope(seat.tenant_id):
        projects: dict[str, Any] = {p.slug: p for p in selectors.projects()}
        project = projects.get(project_slug) or next(iter(projects.values()), None)
        if project is None:
            return []
        if query:
            for finder in FINDERS:
                found += islice(finder(project, query, seat), MOST_OF_A_KIND)
    for group in shell.navigation(org=seat.tenant_slug, project=project.slug, scopes=seat.scopes, section=""):
        found += [Result(str(e.label), _("page"), e.icon, e.href) for e in group if matches(query, str(e.label))]
    return found


def _documents() -> list[Result]:
    out = []
    for chapter in docs.CHAPTERS.values():
        href = (
            reverse("console:docs")
            if chapter.slug == "quickstart"
            else reverse("console:docs_chapter", args=[chapter.slug])
        )
        out.append(Result(str(chapter.title), _("docs"), "book-open", href))
    for group in reference.groups():
        page = reverse("console:docs_api_group", args=[group.slug])
        out += [Result(f"{o.method} {o.path}", _("API"), "file-text", f"{page}#{o.id}") for o in group.operations]
    return out
