"""One policy per route. Adding a route without an entry fails the suite.

Each room's entries stand in a module of its own beside this one (`tests/isolation/<room>.py`, a dict `POLICIES`).

To add one: say through which door it is reached, what the owner's own request answers, and how to make the objects its
parameters name. The matrix then shows that a stranger gets the same 404 as for an id nobody has, and changes nothing.
"""

import importlib
import pkgutil

import tests.isolation
from tests.isolation.routes import Policy

PUBLIC = Policy("public", success={"GET": 200})

POLICIES: dict[str, Policy] = {
    "healthz": PUBLIC,
    "readyz": Policy("public", success={}),
    "metrics": Policy("public", success={"GET": 404}),  # without a token and outside development it is not there
    "openapi.json": PUBLIC,
    "v1": Policy("public", success={"GET": 404, "POST": 404}),
    "v1/": Policy("public", success={"GET": 404, "POST": 404}),
    "v1/<anything:rest>": Policy("public", success={}),
}

for _module in pkgutil.iter_modules(tests.isolation.__path__):
    if _module.name not in {"policies", "routes", "test_matrix"}:
        POLICIES |= importlib.import_module(f"tests.isolation.{_module.name}").POLICIES
