"""Models that write: the page calls the gateway itself, with a pass, and shows the text as it comes (`<ts-writing>`).

What was said before travels with the form, for each model its own: the platform keeps none of it.
"""

import json
from typing import Any

from console.code import Sample, chat_call
from console.playing.answers import Outcome, Values
from console.playing.subjects import Subject
from kit.money import currency, with_symbol
from tenants.passes import pass_make

URL = "/v1/chat/completions"
MOST_TURNS = 40
MOST_LETTERS = 200_000
EXAMPLE = "Tell me a story."
Message = dict[str, str]


def context(outcomes: list[Outcome], values: Values) -> dict[str, Any]:
    """For each model what was said so far and the call that the page is to make."""
    talks = [_talk(one.number, one.subject, values) for one in outcomes]
    return {"talks": talks, "url": URL, "currency": currency(), "money_pattern": with_symbol("{}", currency())}


def samples(server: str, subject: Subject, values: Values) -> list[Sample]:
    """POST /v1/chat/completions, as it is called: with what was said before."""
    return chat_call(server, _body(subject, _said(values, 0), values))


def _talk(number: int, subject: Subject, values: Values) -> dict[str, Any]:
    said = _said(values, number)
    body = _body(subject, said, values) | {"stream": True, "stream_options": {"include_usage": True}}
    return {
        "number": number,
        "subject": subject,
        "said": said,
        "call": json.dumps(body),
        "pass": pass_make(subject.project, subject.user_id),
    }


def _said(values: Values, number: int) -> list[Message]:
    before = _history(values.get(f"history_{number}") or "")
    return [*before, {"role": "user", "content": values.get("text") or EXAMPLE}]


def _body(subject: Subject, said: list[Message], values: Values) -> dict[str, Any]:
    system: list[Message] = [{"role": "system", "content": values["system"]}] if values.get("system") else []
    body: dict[str, Any] = {"model": subject.called, "messages": system + said}
    for name in ("temperature", "max_tokens"):
        if values.get(name) is not None:
            body[name] = values[name]
    return body


def _history(text: str) -> list[Message]:
    """What the page says was said; anything else is as if nothing had been. The last turns, where there are many."""
    if not text or len(text) > MOST_LETTERS:
        return []
    try:
        turns = json.loads(text)
    except (ValueError, RecursionError):
        return []
    if not isinstance(turns, list) or not all(_is_turn(turn) for turn in turns):
        return []
    return [{"role": turn["role"], "content": turn["content"]} for turn in turns[-MOST_TURNS:]]


def _is_turn(turn: Any) -> bool:
    return isinstance(turn, dict) and turn.get("role") in ("user", "assistant") and isinstance(turn.get("content"), str)
