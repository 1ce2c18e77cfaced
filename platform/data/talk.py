"""One conversation, or one prompt with its completion, out of one row; or the reason why there is none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from data.columns import COMPLETION, MESSAGES, PROMPT, SPLIT, SPLIT_VALUES, TOOLS, Roles
from data.example import Reject, scalar
from data.formats.base import Row
from data.formats.jsonl import BadLine, parse_value

SPEAKERS = frozenset(("system", "developer", "user", "assistant", "tool", "function"))
INSTRUCTIONS = frozenset(("system", "developer"))
KEYS = frozenset(
    ("role", "content", "name", "tool_calls", "tool_call_id", "weight", "function_call", "refusal", "audio", "parts")
)
JSON_DEPTH = 32
SNIPPET_CHARS = 400


@dataclass(frozen=True, slots=True)
class Note:
    """Something odd about a row that can be used all the same: a finding code, a snippet, what fills its words."""

    code: str
    snippet: str = ""
    params: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Talk:
    """A usable row.

    `text` is all that is said (equal texts are copies), `own` leaves instructions out (they repeat by nature), `asked`
    is what the model is given to answer. `values` are the columns that a version keeps, JSON where they are nested.
    """

    number: int
    text: str
    own: str
    asked: str
    turns: tuple[str, ...]
    values: tuple[str | None, ...]
    split: str | None = None
    notes: tuple[Note, ...] = ()

    def at(self, number: int, split: str | None) -> Talk:
        """The same row under another number and side."""
        return Talk(number, self.text, self.own, self.asked, self.turns, self.values, split, self.notes)


class _Bad(Exception):
    """The row cannot be used."""

    def __init__(self, code: str, **params: Any) -> None:
        super().__init__(code)
        self.code, self.params = code, params


def talk_of(row: Row, roles: Roles) -> Talk | Reject:
    """Read one row by the chosen roles: messages (and tools), or prompt and completion, and a split if there is one."""
    try:
        split = _split(row, roles)
        return _conversation(row, roles, split) if MESSAGES in roles.columns else _pair(row, roles, split)
    except _Bad as bad:
        snippet = json.dumps(row.values, ensure_ascii=False, default=str)[:SNIPPET_CHARS]
        return Reject(bad.code, "", snippet, bad.params)


def _split(row: Row, roles: Roles) -> str | None:
    column = roles.get(SPLIT)
    if column is None:
        return None
    found = SPLIT_VALUES.get((scalar(row.values.get(column)) or "").strip().casefold())
    if found is None:
        raise _Bad("unknown_split")
    return found


def _pair(row: Row, roles: Roles, split: str | None) -> Talk:
    prompt, completion = (row.values.get(roles.columns[role]) for role in (PROMPT, COMPLETION))
    if not isinstance(prompt, str) or not prompt.strip():
        raise _Bad("empty_prompt")
    if not isinstance(completion, str) or not completion.strip():
        raise _Bad("empty_completion")
    notes = (Note("prompt_echo", prompt),) if prompt.strip() == completion.strip() else ()
    text = f"{prompt}\n{completion}"
    return Talk(row.number, text, text, prompt, ("user", "assistant"), (prompt, completion), split, notes)


def _conversation(row: Row, roles: Roles, split: str | None) -> Talk:
    messages = _listed(row.values.get(roles.columns[MESSAGES]), "missing_messages")
    if not messages:
        raise _Bad("missing_messages")
    calls: set[str] = set()
    texts = [_message(message, calls) for message in messages]
    turns = tuple(message["role"] for message in messages)
    if "assistant" not in turns:
        raise _Bad("no_assistant")
    if all(message.get("weight") == 0 for message in messages if message["role"] == "assistant"):
        raise _Bad("no_weight")
    tools = _tools(row.values.get(roles.columns[TOOLS])) if TOOLS in roles.columns else None
    last = max(index for index, role in enumerate(turns) if role == "assistant")
    spoken = [(index, text) for index, text in enumerate(texts) if turns[index] not in INSTRUCTIONS]
    return Talk(
        number=row.number,
        text="\n".join(texts),
        own="\n".join(text for _, text in spoken),
        asked="\n".join(text for index, text in spoken if index < last),
        turns=turns,
        values=(_json(messages), tools),
        split=split,
        notes=tuple(_notes(messages, turns)),
    )


def _listed(value: Any, code: str) -> list[Any]:
    """A list as it is, or out of JSON text (a table's cell, a version written here)."""
    if isinstance(value, str):
        try:
            value = parse_value(value.strip(), JSON_DEPTH)
        except BadLine as bad:
            raise _Bad(code) from bad
    if not isinstance(value, list):
        raise _Bad(code)
    return [_without_nothing(item) for item in value]


def _without_nothing(item: Any) -> Any:
    """A message without the empty keys that columnar files give to every message."""
    if not isinstance(item, dict):
        return item
    return {name: value for name, value in item.items() if value is not None or name == "content"}


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=str)
    except (ValueError, RecursionError) as error:
        raise _Bad("bad_message") from error


def _tools(value: Any) -> str | None:
    """The tools a conversation may call, as JSON; None where there are none."""
    if value is None or value in ("", []):
        return None
    tools = _listed(value, "bad_tools")
    for tool in tools:
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not _is_name(function.get("name")):
            raise _Bad("bad_tools")
    return _json(tools)


def _message(message: Any, calls: set[str]) -> str:
    """Check one message and return what it says, tool calls included."""
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise _Bad("bad_message")
    role = message["role"]
    if role not in SPEAKERS:
        raise _Bad("unknown_role", role=role[:40])
    _check_weight(message)
    called = _check_calls(message, calls)
    if "content" not in message and not called and "function_call" not in message:
        raise _Bad("bad_message")
    text = content_text(message.get("content"))
    if not text.strip() and not called and "function_call" not in message:
        raise _Bad("empty_message")
    return f"{text}\n{called}" if called else text


def content_text(content: Any) -> str:
    """Return the text of a message: a string, or the text parts of a list. Raises for other shapes."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return "\n".join(str(part.get("text") or part.get("type") or "") for part in content)
    raise _Bad("bad_message")


def _check_weight(message: dict[str, Any]) -> None:
    weight = message.get("weight")
    if weight is not None and (message["role"] != "assistant" or type(weight) is not int or weight not in (0, 1)):
        raise _Bad("bad_weight")


def _check_calls(message: dict[str, Any], calls: set[str]) -> str:
    """Check tool calls and answers to them; returns the calls in words, nothing where there are none."""
    if message["role"] == "tool":
        answered = message.get("tool_call_id")
        if not isinstance(answered, str) or answered not in calls:
            raise _Bad("bad_tool_call")
        return ""
    found = message.get("tool_calls")
    if found is None:
        return ""
    if not isinstance(found, list) or not found or message["role"] != "assistant":
        raise _Bad("bad_tool_call")
    words = []
    for call in found:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(call.get("id"), str) or not _is_name(function.get("name")):
            raise _Bad("bad_tool_call")
        try:
            json.loads(function.get("arguments", ""))
        except (TypeError, ValueError, RecursionError) as error:
            raise _Bad("bad_tool_call") from error
        calls.add(call["id"])
        words.append(f"{function['name']} {function['arguments']}")
    return "\n".join(words)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _notes(messages: Sequence[dict[str, Any]], turns: Sequence[str]) -> Iterator[Note]:
    """What is odd about a conversation that can be used."""
    path = " → ".join(turns)
    if turns[-1] != "assistant":
        yield Note("last_not_assistant", path)
    if unusual_order(turns):
        yield Note("role_order", path)
    strange = next((name for message in messages for name in message if name not in KEYS), None)
    if strange:
        yield Note("unknown_message_key", params={"name": strange[:40]})
    for before, after in pairwise(messages):
        if after["role"] == "assistant" and before["role"] == "user":
            text = content_text(after.get("content")).strip()
            if text and text == content_text(before.get("content")).strip():
                yield Note("prompt_echo", text)
                return


def unusual_order(turns: Sequence[str]) -> bool:
    """Tell whether a system message comes late, or user or assistant speak twice in a row."""
    if any(role in INSTRUCTIONS for role in turns[1:]):
        return True
    return any(left == right and left in ("user", "assistant") for left, right in pairwise(turns))
