"""Texts as a model's tokens: exact, and before anything is reserved.

Nobody has paid yet, so a caller gets so many bytes at a time, and what cannot fit whatever its tokens are is not
rendered at all.
"""

from __future__ import annotations

import json
from typing import Any

from gateway.calls import Call
from gateway.errors import ContextTooLong, from_engine
from inference.client import EngineClient
from inference.errors import EngineError
from inference.wire import Rendered
from serving.routes import Route

LONGEST_TOKEN = 64
"""Bytes of text that a token stands for at most, on the average of a prompt: of words it is about four."""


async def rendered(
    call: Call,
    route: Route,
    *,
    prompts: list[str] | None = None,
    chat: dict[str, Any] | None = None,
    param: str,
) -> Rendered:
    """The tokens of prompts, or of a chat. ApiError with `param` where the model cannot read them; ContextTooLong for
    so many bytes that they need not be counted in tokens."""
    most = route.max_length * LONGEST_TOKEN
    if len(call.body) > most:  # JSON is never shorter than the texts in it
        sizes = [len(prompt.encode()) for prompt in prompts or ()] if chat is None else [_size(chat)]
        if max(sizes) > most:
            raise ContextTooLong(route.model, None, route.max_length, param)
    process, tenant = call.process, call.key.tenant
    base = "" if route.version else route.base

    async def ask(engine: EngineClient) -> Rendered:
        async with process.renders.turn(tenant, len(call.body)):
            found: Rendered = await engine.render(
                tenant=tenant, model=route.version, base=base, prompts=prompts, chat=chat
            )
        return found

    try:
        return await call.resident(route, ask)
    except EngineError as error:
        raise from_engine(error, param) from error


def _size(chat: dict[str, Any]) -> int:
    """Bytes of the texts in a chat; tools count as JSON, which is how templates write them."""
    texts = [json.dumps(chat["tools"], ensure_ascii=False) if chat["tools"] else ""]
    for message in chat["messages"]:
        texts.append(message["content"])
        texts += [called["function"]["arguments"] for called in message.get("tool_calls", ())]
    return sum(len(text.encode()) for text in texts)
