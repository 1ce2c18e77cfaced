"""Checks on conversations and on prompt and completion pairs: shape, roles, tool calls, something to learn from."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from itertools import pairwise
from typing import Any

from data.columns import COMPLETION, MESSAGES, PROMPT, Roles
from data.example import fold, key
from data.findings import Collector
from data.formats.base import Row

ROLES = frozenset(("system", "developer", "user", "assistant", "tool", "function"))
KEYS = frozenset(
    ("role", "content", "name", "tool_calls", "tool_call_id", "weight", "function_call", "refusal", "audio", "parts")
)
MIN_ROWS = 10


class _Shape(Exception):
    """A row that cannot be used."""

    def __init__(self, code: str, **params: Any) -> None:
        super().__init__(code)
        self.code, self.params = code, params


class ConversationCheck:
    """Feed rows with `take`, then call `finish` once. Works for `messages` rows."""

    def __init__(self, roles: Roles, collector: Collector, min_rows: int = MIN_ROWS) -> None:
        """`roles` must hold messages, or prompt and completion."""
        self.roles, self.collector, self.min_rows = roles, collector, min_rows
        self.usable = 0
        self.role_counts: Counter[str] = Counter()
        self.messages, self.characters = array("i"), array("i")
        self._seen: set[int] = set()

    def take(self, row: Row) -> bool:
        """Check one row; True if it is usable."""
        try:
            text = self._pair(row) if PROMPT in self.roles.columns else self._messages(row)
        except _Shape as bad:
            snippet = json.dumps(row.values, ensure_ascii=False, default=str)[:400]
            known = self.collector.get(bad.code)
            params = None if known else bad.params
            self.collector.add(bad.code, row=row.number, line=row.line, snippet=snippet, params=params)
            return False
        self.usable += 1
        self.characters.append(len(text))
        digest = key(fold(text))
        if digest in self._seen:
            self.collector.add("exact_duplicates", row=row.number, line=row.line, snippet=text)
        self._seen.add(digest)
        return True

    def finish(self) -> None:
        """Report what only the whole set shows."""
        if self.usable < self.min_rows:
            self.collector.add("too_few_rows", params={"found": f"{self.usable:,}", "limit": self.min_rows})

    def _pair(self, row: Row) -> str:
        prompt, completion = (row.values.get(self.roles.columns[role]) for role in (PROMPT, COMPLETION))
        if not isinstance(prompt, str) or not prompt.strip():
            raise _Shape("empty_prompt")
        if not isinstance(completion, str) or not completion.strip():
            raise _Shape("empty_completion")
        if prompt.strip() == completion.strip():
            self.collector.add("prompt_echo", row=row.number, line=row.line, snippet=prompt)
        self.messages.append(2)
        return f"{prompt}\n{completion}"

    def _messages(self, row: Row) -> str:
        messages = row.values.get(self.roles.columns[MESSAGES])
        if not isinstance(messages, list) or not messages:
            raise _Shape("missing_messages")
        calls: set[str] = set()
        texts = [self._message(message, calls, row) for message in messages]
        order = [message["role"] for message in messages]
        if "assistant" not in order:
            raise _Shape("no_assistant")
        if order[-1] != "assistant":
            self.collector.add("last_not_assistant", row=row.number, line=row.line, snippet=" → ".join(order))
        if unusual_order(order):
            self.collector.add("role_order", row=row.number, line=row.line, snippet=" → ".join(order))
        self._echo(messages, row)
        self.role_counts.update(order)
        self.messages.append(len(messages))
        return "\n".join(texts)

    def _message(self, message: Any, calls: set[str], row: Row) -> str:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise _Shape("bad_message")
        role = message["role"]
        if role not in ROLES:
            raise _Shape("unknown_role", role=role[:40])
        strange = next((name for name in message if name not in KEYS), None)
        if strange:
            self.collector.add("unknown_message_key", row=row.number, line=row.line, params={"name": strange[:40]})
        _check_weight(message)
        has_calls = _check_calls(message, calls)
        if "content" not in message and not has_calls and "function_call" not in message:
            raise _Shape("bad_message")
        text = content_text(message.get("content"))
        if not text.strip() and not has_calls and "function_call" not in message:
            raise _Shape("empty_message")
        return text

    def _echo(self, messages: list[dict[str, Any]], row: Row) -> None:
        for before, after in pairwise(messages):
            if after["role"] == "assistant" and before["role"] == "user":
                text = content_text(after.get("content")).strip()
                if text and text == content_text(before.get("content")).strip():
                    self.collector.add("prompt_echo", row=row.number, line=row.line, snippet=text)
                    return


def content_text(content: Any) -> str:
    """Return the text of a message: a string, or the text parts of a list. Raises for other shapes."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return "\n".join(str(part.get("text") or part.get("type") or "") for part in content)
    raise _Shape("bad_message")


def unusual_order(order: list[str]) -> bool:
    """Tell whether a system message comes late, or user or assistant speak twice in a row."""
    if any(role in ("system", "developer") for role in order[1:]):
        return True
    return any(left == right and left in ("user", "assistant") for left, right in pairwise(order))


def _check_weight(message: dict[str, Any]) -> None:
    weight = message.get("weight")
    if weight is not None and (message["role"] != "assistant" or type(weight) is not int or weight not in (0, 1)):
        raise _Shape("bad_weight")


def _check_calls(message: dict[str, Any], calls: set[str]) -> bool:
    """Check tool calls and answers to them; True if the message calls tools."""
    if message["role"] == "tool":
        if message.get("tool_call_id") not in calls:
            raise _Shape("bad_tool_call")
        return False
    found = message.get("tool_calls")
    if found is None:
        return False
    if not isinstance(found, list) or not found or message["role"] != "assistant":
        raise _Shape("bad_tool_call")
    for call in found:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(call.get("id"), str) or not function.get("name"):
            raise _Shape("bad_tool_call")
        try:
            json.loads(function.get("arguments", ""))
        except (TypeError, ValueError, RecursionError) as error:
            raise _Shape("bad_tool_call") from error
        calls.add(call["id"])
    return True
