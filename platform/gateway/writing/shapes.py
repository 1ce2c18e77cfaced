"""What chat and completions answer alike: who may write, the stream's frame, usage."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Protocol

from billing.metering.events import UsageEvent
from gateway.calls import Call, cost_header
from gateway.errors import ModelUnknown
from gateway.wire import Disconnected, encode
from gateway.writing.bodies import Chat, Completions
from gateway.writing.events import Events
from gateway.writing.metered import MeteredCall
from gateway.writing.wishes import Wish
from inference.wire import Piece, TokenChance
from kit.api import InternalError
from kit.clock import now
from kit.errors import ApiError, BadRequest
from kit.money import HOUSE, in_name, number
from serving.routes import Route

log = logging.getLogger(__name__)

SHOWN = 10
LEAST_LOGPROB = -9999.0
"""What stands for a probability of nothing: JSON knows no infinity."""


class Shape(Protocol):
    """How one route words what is written."""

    def feed(self, place: int, piece: Piece) -> Iterable[Any]:
        """Take a piece of the prompt at that place; the chunks of a stream for it."""

    def whole(self, usage: dict[str, Any]) -> Any:
        """The answer in one."""

    def last(self, usage: dict[str, Any]) -> Any:
        """The chunk that holds the usage."""


async def answered(call: Call, writing: MeteredCall, wish: Wish, shape: Shape) -> bytes | None:
    """Write, and answer: a body, or None after a stream."""
    if wish.stream:
        await _streamed(call, writing, wish, shape)
        return None
    async with writing:
        async for place, piece in writing.pieces():
            shape.feed(place, piece)
        event = writing.settle()
    call.headers.append(cost_header(event.cost_nano, call.key.currency))
    return encode(shape.whole(usage_of(writing)))


async def _streamed(call: Call, writing: MeteredCall, wish: Wish, shape: Shape) -> None:
    """Before the stream has begun a failure is raised, to be an answer with a status; later it is the last event."""
    events = Events(call)
    try:
        async with writing:
            pieces = writing.pieces()
            found = await events.first(_next(pieces))
            while found is not None:
                if call.said is not None and not found[0] and not found[1].choice:
                    call.said.append(found[1].text)
                for chunk in shape.feed(*found):
                    await events.data(chunk)
                found = await _next(pieces)
            event = writing.settle()
            if wish.usage:
                await events.data(shape.last(usage_of(writing, event, call.key.currency)))
            await events.end()
    except (Disconnected, asyncio.CancelledError):
        raise
    except Exception as error:
        if not events.begun:
            raise
        if not isinstance(error, ApiError):
            log.exception("a stream of %s broke", call.request_id)
        await events.end(error if isinstance(error, ApiError) else InternalError())


async def _next(pieces: Any) -> tuple[int, Piece] | None:
    found: tuple[int, Piece] | None = await anext(pieces, None)
    return found


async def writer(call: Call, body: Chat | Completions) -> Route:
    """The route of a body's model, which must write. ModelUnknown or BadRequest say what can be called instead."""
    try:
        route = await call.route(body.model, body)
        route.require_writer()
    except (ModelUnknown, BadRequest) as refused:
        refused.message += await _callable(call)
        raise
    return route


async def _callable(call: Call) -> str:
    record = call.key.record
    routes = await call.process.routes.project(record.tenant_id, record.project_id)
    writers = sorted({route.model for route in routes.by_name.values() if route.writes})
    if writers:
        return f" Models of this project that write text: {_listed(writers)}."
    live = sorted({route.model for route in routes.by_name.values() if route.version})
    deployed = f"Deployed in this project: {_listed(live)}." if live else "Nothing is deployed in this project."
    return f" No model of this project writes text. {deployed}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def usage_of(writing: MeteredCall, event: UsageEvent | None = None, currency: str = HOUSE) -> dict[str, Any]:
    """Tokens read and written; with the event what they cost, under the name of its currency."""
    read, written = writing.prompt_tokens, writing.output_tokens
    usage: dict[str, Any] = {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": writing.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    if event is not None:
        usage[in_name("x_cost_usd", currency)] = number(event.cost_nano)
    return usage


def frame(call: Call, prefix: str, kind: str, route: Route) -> dict[str, Any]:
    """What every answer and chunk begins with."""
    identifier = prefix + call.request_id.removeprefix("req_")
    return {"id": identifier, "object": kind, "created": int(now().timestamp()), "model": route.model}


def logprob(chance: TokenChance) -> float:
    """A finite number."""
    return max(chance.logprob, LEAST_LOGPROB)
