"""How satisfied members are: the score of a year, by month and plan, and what they wrote."""

from django.core.paginator import Paginator
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from customers.selectors.surveys import comments, results
from customers.surveys import PASSIVE, PROMOTER
from ops.customers import answer

SIZE = 50


def page(request: HttpRequest) -> HttpResponseBase:
    """Show it."""
    here = Paginator(comments(), SIZE).get_page(request.GET.get("page"))
    context = {
        "results": results(),
        "page": here,
        "lines": [
            (row, "ok" if row.score >= PROMOTER else "muted" if row.score >= PASSIVE else "danger") for row in here
        ],
    }
    return answer(request, "ops/customers/satisfaction.html", context)
