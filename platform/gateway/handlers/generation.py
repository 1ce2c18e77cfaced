"""POST /v1/chat/completions and /v1/completions: a clear no that says what this project can call instead."""

from __future__ import annotations

from gateway import bodies
from gateway.calls import Call
from gateway.errors import ModelUnknown
from kit.errors import BadRequest

SHOWN = 10


async def handle(call: Call) -> bytes:
    """Always raises: no model here writes text."""
    body = bodies.read(call.body, bodies.AnyModel)
    record = call.key.record
    routes = await call.process.routes.project(record.tenant_id, record.project_id)
    live = sorted({route.model for route in routes.by_name.values() if route.version})
    route = routes.by_name.get(body.model)
    if route is not None:
        words = (
            "classifies text and does not write any. Ask it with POST /v1/decisions or POST /v1/classify."
            if route.version
            else "is a base: it reads text and does not write any. Call it with POST /v1/embeddings."
        )
        raise BadRequest(
            f"'{body.model}' {words}" + _deployed(live),
            param="model",
            code="unsupported_model",
        )
    unknown = ModelUnknown(body.model)
    unknown.message += " No model of this project writes text." + _deployed(live)
    raise unknown


def _deployed(live: list[str]) -> str:
    if not live:
        return " Nothing is deployed in this project."
    more = f" and {len(live) - SHOWN} more" if len(live) > SHOWN else ""
    return f" Deployed in this project: {', '.join(live[:SHOWN])}{more}."
