"""Documentation pages and the API reference."""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from console import docs, reference
from console.views.files import SAMPLE
from kit.streams import attachment


def _tree(here: str) -> dict[str, Any]:
    """The left tree, with the current page and, on the reference, its groups."""
    return {"tree": docs.TREE, "chapter_slug": here, "here": "docs", "groups": reference.groups()}


@require_safe
def chapter(request: HttpRequest, slug: str = "quickstart") -> HttpResponse:
    """One chapter; the first is the quick start."""
    found = docs.document(slug)
    if found is None:
        raise Http404
    return render(request, "docs/chapter.html", {"document": found, **_tree(slug)})


@require_safe
def api(request: HttpRequest, group: str = "") -> HttpResponse:
    """The API reference: an overview, or all operations on one thing."""
    chosen = next((g for g in reference.groups() if g.slug == group), None)
    if group and chosen is None:
        raise Http404
    return render(request, "docs/api.html", {"group": chosen, **_tree(f"api/{group}" if group else "api")})


@require_safe
def example(request: HttpRequest) -> StreamingHttpResponse:
    """The data the quick start uploads."""
    if not SAMPLE.exists():
        raise Http404
    return attachment(request, iter([SAMPLE.read_bytes()]), filename=SAMPLE.name, content_type="text/csv")
