"""Where the nouns announce themselves: routes, listeners, timers, expandable extras.

A noun module is data to the server: importing `billing.stripe_emulator.nouns`
fills these tables, and nothing else needs to know the list. The world reads them,
so what is called with a world names no type for it here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from billing.stripe_emulator.contract.routes import Route
from billing.stripe_emulator.contract.routes import routes as contract_routes
from billing.stripe_emulator.store import Obj

World = Any
Handler = Callable[..., Obj]
HANDLERS: dict[tuple[str, str], Handler] = {}
LISTENERS: dict[str, list[Callable[[World, Obj], None]]] = defaultdict(list)
TIMERS: dict[str, tuple[Callable[[Obj], int | None], Callable[[World, Obj], None]]] = {}
EXTRAS: dict[tuple[str, str], Callable[[World, Obj], Any]] = {}


def route(method: str, path: str) -> Callable[[Handler], Handler]:
    """Answer one call of the API: `handler(world, params, *path_ids) -> object`.

    The path is the SDK's own template. Raises LookupError when the installed SDK has no such call.
    """
    if (method, path) not in contract_routes():
        raise LookupError(f"the installed stripe package has no call {method} {path}")

    def note(handler: Handler) -> Handler:
        HANDLERS[(method, path)] = handler
        return handler

    return note


def listens(*event_types: str) -> Callable[[Any], Any]:
    """Call `listener(world, object)` inside the transaction that emits one of these events."""

    def note(listener: Any) -> Any:
        for event_type in event_types:
            LISTENERS[event_type].append(listener)
        return listener

    return note


def timer(kind: str, due: Callable[[Obj], int | None]) -> Callable[[Any], Any]:
    """Call `wake(world, object)` when the clock reaches `due(object)`. Wake must move `due` on."""

    def note(wake: Any) -> Any:
        TIMERS[kind] = (due, wake)
        return wake

    return note


def extra(kind: str, field: str) -> Callable[[Any], Any]:
    """A field that is only there when asked for by `expand`: `value(world, object)`."""

    def note(value: Any) -> Any:
        EXTRAS[(kind, field)] = value
        return value

    return note


def coverage() -> dict[str, tuple[int, int]]:
    """How many calls of each family (the first part of their path) are answered, and how many the SDK has."""
    out: dict[str, tuple[int, int]] = {}
    for method, path in contract_routes():
        version, family = path.split("/")[1:3]
        family = family if version == "v1" else f"{version} {family}"
        answered, known = out.get(family, (0, 0))
        out[family] = (answered + ((method, path) in HANDLERS), known + 1)
    return dict(sorted(out.items()))


class Router:
    """Finds the contract's route of a request path."""

    def __init__(self) -> None:
        self._static: dict[tuple[str, str], Route] = {}
        self._moving: list[tuple[str, re.Pattern[str], Route]] = []
        for (method, path), found in contract_routes().items():
            if "{" in path:
                pattern = re.sub(r"\\\{[a-z_]+\\\}", "([^/]+)", re.escape(path))
                self._moving.append((method, re.compile(pattern), found))
            else:
                self._static[(method, path)] = found

    def match(self, method: str, path: str) -> tuple[Route, tuple[str, ...]] | None:
        """The route and the ids in its path."""
        if (method, path) in self._static:
            return self._static[(method, path)], ()
        for wanted, pattern, found in self._moving:
            if wanted == method and (hit := pattern.fullmatch(path)):
                return found, hit.groups()
        return None
