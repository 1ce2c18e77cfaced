"""The routes of the API, read from the SDK's service modules without running them."""

from __future__ import annotations

import ast
import functools
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import stripe

# The families we may emulate; the others would only cost start-up time.
FAMILIES = (
    "_*_service.py",
    "checkout/_*_service.py",
    "billing/_*_service.py",
    "billing_portal/_*_service.py",
    "test_helpers/_*_service.py",
    "v2/billing/_meter_*_service.py",
    "v2/core/_event*_service.py",
)
_SENDS = ("_request", "_request_stream")


@dataclass(frozen=True)
class Route:
    """One call the SDK can make. `params` names a TypedDict as `module:Class`, or is None."""

    method: str
    path: str
    params: str | None
    answer: str


@functools.cache
def routes() -> dict[tuple[str, str], Route]:
    """All routes of the families above, by method and path template (names as in the SDK)."""
    root = Path(stripe.__file__).parent
    found: dict[tuple[str, str], Route] = {}
    for family in FAMILIES:
        for file in sorted(root.glob(family)):
            for route in _routes_of(ast.parse(file.read_text("utf-8"))):
                found.setdefault((route.method, route.path), route)
    return found


def _routes_of(tree: ast.Module) -> list[Route]:
    modules = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            call = _request_of(node)
            if call is not None and call[1].startswith(("/v1/", "/v2/")):
                name = _params_of(node)
                where = f"{modules[name]}:{name}" if name and name in modules else None
                found.append(Route(call[0], call[1], where, _text(node.returns)))
    return found


def _request_of(function: ast.FunctionDef) -> tuple[str, str] | None:
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _SENDS:
            method, path = node.args[0], node.args[1]
            if isinstance(path, ast.Call) and isinstance(path.func, ast.Attribute):
                path = path.func.value
            if isinstance(method, ast.Constant) and isinstance(path, ast.Constant):
                return str(method.value).upper(), str(path.value)
    return None


def _params_of(function: ast.FunctionDef) -> str | None:
    for argument in [*function.args.args, *function.args.kwonlyargs]:
        if argument.arg == "params" and argument.annotation is not None:
            names = [n.value for n in ast.walk(argument.annotation) if isinstance(n, ast.Constant)]
            return next((str(name) for name in names if name), None)
    return None


def _text(annotation: ast.expr | None) -> str:
    if isinstance(annotation, ast.Constant):
        return str(annotation.value)
    return ast.unparse(annotation) if annotation is not None else ""


@functools.cache
def params_class(where: str) -> Any:
    """The TypedDict named `module:Class`."""
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)
