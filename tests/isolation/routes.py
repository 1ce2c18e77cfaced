"""Every route of the product, read from the URLconf itself, and the shape of a policy for one."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.urls import URLPattern, URLResolver, get_resolver

from tests.conftest import Person

THIRD_PARTY = ("account/", settings.STAFF_PATH.lstrip("/"))
"""Routes of libraries: sign-in (no tenant's data) and the staff console (its own role, its own tests)."""

Ids = dict[str, Any]
Make = Callable[[Person], Ids]


@dataclass(frozen=True)
class Policy:
    """How one route is tried.

    door: `api` (bearer key), `page` (signed-in member), `public` (anybody, holds no tenant's data).
    make: builds the owner's objects and returns the URL's parameters; a fresh set for every try.
    bodies: method -> body builder, given those parameters; a body may hold ids as well.
    success: method -> status of the owner's own request.
    hidden: method -> status a stranger gets (404 wherever an id stands; 400 where the wire wants it).
    """

    door: str
    success: dict[str, int]
    make: Make = field(default=lambda person: {})
    bodies: dict[str, Callable[[Ids], Any]] = field(default_factory=dict)
    hidden: dict[str, int] = field(default_factory=dict)
    form: bool = False
    """The body is a form, not JSON."""


def routes() -> Iterator[str]:
    """The pattern of every route, as one string without the leading slash."""
    yield from _walk(get_resolver().url_patterns, "")


def _walk(patterns: list[Any], prefix: str) -> Iterator[str]:
    for pattern in patterns:
        here = prefix + _text(pattern)
        if here.startswith(THIRD_PARTY):
            continue
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, here)
        elif isinstance(pattern, URLPattern):
            yield here


def _text(pattern: Any) -> str:
    return str(pattern.pattern).lstrip("^").rstrip("$")


PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")


def parameters(route: str) -> list[str]:
    """Names of a route's parameters."""
    return PARAMETER.findall(route)


def fill(route: str, ids: Ids) -> str:
    """The path of a route with its parameters filled in."""
    return "/" + PARAMETER.sub(lambda match: str(ids[match[1]]), route)
