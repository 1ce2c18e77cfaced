"""POST /v1/completions: prompts continued as they stand, whole or streamed, through no chat template."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gateway import bodies as gateway_bodies
from gateway.calls import Call
from gateway.errors import Unsupported
from gateway.writing import bodies, wishes
from gateway.writing.agreement import Written, shadowed
from gateway.writing.metered import MeteredCall
from gateway.writing.rendering import rendered
from gateway.writing.shapes import answered, frame, logprob, writer
from inference.wire import Piece, TokenReport
from kit.errors import BadRequest
from serving.routes import Route


async def handle(call: Call) -> bytes | None:
    """The answer's body; None after a stream."""
    body = gateway_bodies.read(call.body, bodies.Completions)
    prompts = _prompts(body.prompt)
    wish = wishes.of_completions(body, len(prompts))
    route = await writer(call, body)

    async def work() -> bytes | None:
        found = await rendered(call, route, prompts=prompts, param="prompt")
        writing = MeteredCall(call, route, "completions", wish, found, "prompt")
        answers = _Answers(call, route, body, prompts)
        answer = await answered(call, writing, wish, answers)
        if call.shadow is not None:
            shadowed(call, route, writing, answers.first(), prompt=prompts[0])
        return answer

    return await call.while_connected(work())


def _prompts(value: Any) -> list[str]:
    """`prompt` as texts. Token arrays are refused: they are another vocabulary's numbers."""
    prompts = [value] if isinstance(value, str) else value
    if not isinstance(prompts, list) or not prompts:
        raise BadRequest("'prompt' must be a text or a list of texts.", param="prompt")
    for index, prompt in enumerate(prompts):
        param = "prompt" if isinstance(value, str) else f"prompt[{index}]"
        if isinstance(prompt, (int, list)) and not isinstance(prompt, bool):
            raise Unsupported("'prompt' holds token numbers. Send text: this model has its own tokens.", param="prompt")
        if not isinstance(prompt, str):
            raise BadRequest(f"'{param}' must be a text.", param=param)
        if not prompt:
            raise BadRequest(f"'{param}' is empty. Send a text.", param=param)
    return prompts


class _Choice:
    """One text in the making."""

    def __init__(self, echoed: str) -> None:
        self.echoed = echoed
        self.before = len(echoed)
        self.text = echoed
        self.tokens = 0
        self.finish = ""
        self.reports: list[tuple[int, TokenReport]] = []  # each with the place of its token in the text
        self.unsent: list[tuple[int, TokenReport]] = []
        self._place = 0

    def feed(self, piece: Piece) -> str:
        """New text; the prompt first, if it is echoed."""
        for report in piece.logprobs or ():
            self.reports.append((self._place, report))
            self.unsent.append((self._place, report))
            self._place += len(report.chosen.token)
        text, self.echoed = self.echoed + piece.text, ""
        self.text += piece.text
        self.tokens += piece.tokens
        self.finish = piece.finish or self.finish
        return text


class _Answers:
    """The answer, or its chunks."""

    def __init__(self, call: Call, route: Route, body: bodies.Completions, prompts: list[str]) -> None:
        self._with_logprobs = body.logprobs is not None
        self._each = body.n or 1
        echoed = [prompt if body.echo else "" for prompt in prompts for _ in range(self._each)]
        self._choices = [_Choice(prompt) for prompt in echoed]
        self._frame = frame(call, "cmpl-", "text_completion", route)

    def feed(self, place: int, piece: Piece) -> Iterable[Any]:
        """The chunk for a piece; none for one whose text is held back."""
        index = place * self._each + piece.choice
        choice = self._choices[index]
        text = choice.feed(piece)
        if not text and not piece.finish:
            return []
        reports, choice.unsent = choice.unsent, []
        return [self._frame | {"choices": [self._choice(index, text, piece.finish or None, reports)]}]

    def whole(self, usage: dict[str, Any]) -> Any:
        """The answer in one."""
        choices = [
            self._choice(index, choice.text, choice.finish, choice.reports)
            for index, choice in enumerate(self._choices)
        ]
        return self._frame | {"choices": choices, "usage": usage}

    def last(self, usage: dict[str, Any]) -> Any:
        """The chunk that holds the usage."""
        return self._frame | {"choices": [], "usage": usage}

    def first(self) -> Written:
        """The first text, without its prompt, for a shadow's to be compared with."""
        choice = self._choices[0]
        return Written(choice.text[choice.before :], (), choice.finish, choice.tokens)

    def _choice(
        self, index: int, text: str, finish: str | None, reports: list[tuple[int, TokenReport]]
    ) -> dict[str, Any]:
        logprobs = _logprobs(reports) if self._with_logprobs else None
        return {"index": index, "text": text, "finish_reason": finish, "logprobs": logprobs}


def _logprobs(reports: list[tuple[int, TokenReport]]) -> dict[str, Any]:
    return {
        "tokens": [report.chosen.token for _, report in reports],
        "token_logprobs": [logprob(report.chosen) for _, report in reports],
        "top_logprobs": [{one.token: logprob(one) for one in report.top} for _, report in reports],
        "text_offset": [place for place, _ in reports],
    }
