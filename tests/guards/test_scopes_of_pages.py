"""Every page of the console says which scope its reader needs: who inherits `get` and names none is open to all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

from console.views.base import ConsoleView

FOR_EVERY_MEMBER = {"Organisation", "Overview", "SettingsPage", "Leave"}
"""Pages that every member may see, whatever their role; they look at the role themselves."""


def pages(resolver: Any) -> Iterator[type[ConsoleView]]:
    for one in resolver.url_patterns:
        if isinstance(one, URLResolver):
            yield from pages(one)
        elif isinstance(one, URLPattern):
            view = getattr(one.callback, "view_class", None)
            if isinstance(view, type) and issubclass(view, ConsoleView):
                yield view


def test_every_page_that_can_be_read_names_the_scope_for_it_or_is_for_every_member() -> None:
    found = set(pages(get_resolver()))
    assert len(found) > 80
    open_to_all = {view.__name__ for view in found if hasattr(view, "get") and not view.required_scopes.get("GET")}
    assert open_to_all == FOR_EVERY_MEMBER


def test_every_form_that_can_be_sent_names_the_scope_for_it() -> None:
    found = set(pages(get_resolver()))
    silent = {view.__name__ for view in found if hasattr(view, "post") and not view.required_scopes.get("POST")}
    assert silent == {"Leave", "Delete", "Restore", "Erase"}, "the last three ask for the scope of what they are for"
