"""Pages without an account: landing, preferences, the style guide in development."""

from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST, require_safe

from console import pricing as prices
from console import showcase
from console.code import first_call
from kit.money import in_currency

YEAR = 365 * 86_400


def _back(request: HttpRequest) -> str:
    """Where a preference form came from, if it is ours."""
    wanted = request.POST.get("next", "/")
    ours = wanted.startswith("/") and url_has_allowed_host_and_scheme(wanted, allowed_hosts=None)
    return wanted if ours else "/"


@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Remember light, dark or the system's choice in a cookie."""
    response = redirect(_back(request))
    choice = request.POST.get("theme")
    if choice in ("light", "dark"):
        response.set_cookie("theme", choice, max_age=YEAR, samesite="Lax", secure=request.is_secure())
    else:
        response.delete_cookie("theme", samesite="Lax")
    return response


@require_POST
def key_preference(request: HttpRequest) -> HttpResponse:
    """Turn single-letter keys off or on again (WCAG 2.1.4)."""
    response = redirect(_back(request))
    if request.POST.get("keys") == "off":
        response.set_cookie("keys", "off", max_age=YEAR, samesite="Lax", secure=request.is_secure())
    else:
        response.delete_cookie("keys", samesite="Lax")
    return response


@require_safe
def styleguide(request: HttpRequest) -> HttpResponse:
    """Every component with its worst data. Development only."""
    if not settings.DEBUG:
        raise Http404
    context: dict[str, Any] = showcase.context()
    return render(request, "console/styleguide.html", context)


@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    """The first page."""
    figures = [price for price in prices.unit_prices(prices.current_book()) if price.headline]
    context = {"samples": first_call(settings.BASE_URL), "prices": figures, "example": showcase.example()}
    return render(request, "public/landing.html", context)


@require_safe
def pricing(request: HttpRequest) -> HttpResponse:
    """Plans and unit prices, everything in the currency that is asked for."""
    data = request.GET.dict()
    with in_currency(prices.chosen(data)):
        return render(request, "public/pricing.html", prices.context(data))
