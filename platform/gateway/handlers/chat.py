"""POST /v1/chat/completions, as the official client calls it: whole or streamed, with tools, formats and logprobs."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from gateway import bodies as gateway_bodies
from gateway.calls import Call
from gateway.writing import bodies, messages, tools, wishes
from gateway.writing.agreement import Written, shadowed
from gateway.writing.metered import MeteredCall
from gateway.writing.rendering import rendered
from gateway.writing.shapes import answered, frame, logprob, writer
from inference.wire import Piece, TokenChance, TokenReport
from serving.routes import Route


async def handle(call: Call) -> bytes | None:
    """The answer's body; None after a stream."""
    body = gateway_bodies.read(call.body, bodies.Chat)
    wish = wishes.of_chat(body)
    offered = tools.offered(body.tools, body.tool_choice)
    strict = tools.promised(body.tools, body.tool_choice)
    reader = partial(tools.Reader, offered, several=body.parallel_tool_calls is not False, strict=strict)
    chat: dict[str, Any] = {"messages": messages.plain(body.messages), "tools": offered}
    route = await writer(call, body)

    async def work() -> bytes | None:
        found = await rendered(call, route, chat=chat, param="messages")
        writing = MeteredCall(call, route, "chat", wish, found, "messages")
        answers = _Answers(call, route, body, reader)
        answer = await answered(call, writing, wish, answers)
        if call.shadow is not None:
            shadowed(call, route, writing, answers.first(), chat=chat, reader=reader)
        return answer

    return await call.while_connected(work())


class _Choice:
    """One answer in the making."""

    def __init__(self, reader: tools.Reader) -> None:
        self.reader = reader
        self.begun = False
        self.text = ""
        self.tokens = 0
        self.finish = ""
        self.calls: list[dict[str, Any]] = []
        self.logprobs: list[dict[str, Any]] = []
        self.unsent: list[dict[str, Any]] = []  # logprobs of text that is still held back

    def feed(self, piece: Piece) -> tuple[str, list[dict[str, Any]]]:
        """New text and new calls."""
        text, called = self.reader.feed(piece.text)
        if piece.finish:
            rest, more = self.reader.end()
            text, called = text + rest, called + more
        self.text += text
        self.tokens += piece.tokens
        fresh = [
            {"id": f"call_{secrets.token_hex(12)}", "type": "function",
             "function": {"name": one.name, "arguments": one.arguments}}
            for one in called
        ]  # fmt: skip
        self.calls += fresh
        reports = [_token(report) for report in piece.logprobs or ()]
        self.logprobs += reports
        self.unsent += reports
        if piece.finish:
            self.finish = "tool_calls" if self.calls and piece.finish == "stop" else piece.finish
        return text, fresh


class _Answers:
    """The answer, or its chunks."""

    def __init__(self, call: Call, route: Route, body: bodies.Chat, reader: Callable[[], tools.Reader]) -> None:
        self._with_logprobs = bool(body.logprobs)
        self._metadata = body.metadata
        self._choices = [_Choice(reader()) for _ in range(body.n or 1)]
        kind = "chat.completion.chunk" if body.stream else "chat.completion"
        self._frame = frame(call, "chatcmpl-", kind, route) | {"service_tier": "default"}

    def feed(self, place: int, piece: Piece) -> Iterable[Any]:
        """The chunk for a piece; none for one whose text is held back."""
        choice = self._choices[piece.choice]
        before = len(choice.calls)
        text, calls = choice.feed(piece)
        if not (text or calls or choice.finish) and choice.begun:
            return []
        delta: dict[str, Any] = {} if choice.begun else {"role": "assistant"}
        if text or not (choice.begun or calls):
            delta["content"] = text
        if calls:
            delta["tool_calls"] = [{"index": before + i, **one} for i, one in enumerate(calls)]
        choice.begun = True
        logprobs, choice.unsent = choice.unsent, []
        if not choice.finish or not delta or not (text or calls):
            return [self._chunk(piece.choice, delta, choice.finish or None, logprobs)]
        return [self._chunk(piece.choice, delta, None, logprobs), self._chunk(piece.choice, {}, choice.finish, [])]

    def whole(self, usage: dict[str, Any]) -> Any:
        """The answer in one."""
        choices = [self._whole(index, choice) for index, choice in enumerate(self._choices)]
        answer = self._frame | {"choices": choices, "usage": usage}
        return answer if self._metadata is None else answer | {"metadata": self._metadata}

    def last(self, usage: dict[str, Any]) -> Any:
        """The chunk that holds the usage."""
        return self._frame | {"choices": [], "usage": usage}

    def first(self) -> Written:
        """The first answer, for a shadow's to be compared with."""
        choice = self._choices[0]
        return Written(choice.text, tuple(choice.reader.calls), choice.finish, choice.tokens)

    def _whole(self, index: int, choice: _Choice) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": choice.text if choice.text or not choice.calls else None,
            "refusal": None,
        }
        if choice.calls:
            message["tool_calls"] = choice.calls
        return {
            "index": index,
            "message": message,
            "finish_reason": choice.finish,
            "logprobs": {"content": choice.logprobs, "refusal": None} if self._with_logprobs else None,
        }

    def _chunk(
        self, index: int, delta: dict[str, Any], finish: str | None, logprobs: list[dict[str, Any]]
    ) -> dict[str, Any]:
        reported = {"content": logprobs, "refusal": None} if self._with_logprobs and logprobs else None
        choice = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": reported}
        return self._frame | {"choices": [choice]}


def _token(report: TokenReport) -> dict[str, Any]:
    return _chance(report.chosen) | {"top_logprobs": [_chance(one) for one in report.top]}


def _chance(chance: TokenChance) -> dict[str, Any]:
    return {"token": chance.token, "logprob": logprob(chance), "bytes": list(chance.raw)}
