"""Calls of tools: what the engine is told of the tools, and the calls in what a model wrote.

Two ways of writing a call are read, which most open models were trained on: Hermes', `<tool_call>{"name": …,
"arguments": {…}}</tool_call>`, any number of them after or between text; and a bare JSON object `{"name": …,
"parameters": {…}}` (or `arguments`) as the whole answer. What is no call of a known tool is text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from gateway.writing import bodies
from gateway.writing.strict import Strict, text_of
from inference.wire import Grammar
from kit.errors import BadRequest

OPEN, CLOSE = "<tool_call>", "</tool_call>"
_BARE = '{"name":"'
_SPACE = re.compile(r"\s+")
_HEAD = 64
"""Characters in which a bare call shows itself."""


@dataclass(frozen=True, slots=True)
class Called:
    """A call; `arguments` is JSON text."""

    name: str
    arguments: str


def offered(tools: list[bodies.Tool] | None, choice: Any) -> list[dict[str, Any]] | None:
    """The tools as the chat template gets them; None where the model must not call any."""
    if not tools or choice == "none":
        return None
    found = []
    for tool in tools:
        function: dict[str, Any] = {"name": tool.function.name}
        if tool.function.description is not None:
            function["description"] = tool.function.description
        function["parameters"] = tool.function.parameters or {"type": "object", "properties": {}}
        found.append({"type": "function", "function": function})
    return found


def forced(tools: list[bodies.Tool], choice: Any) -> Grammar | None:
    """The rule for the output where a call must be made; it is written as a bare object. BadRequest for a choice that
    cannot be made."""
    names = [tool.function.name for tool in tools]
    if len(set(names)) != len(names):
        raise BadRequest("'tools' names a function twice.", param="tools")
    named = choice.function.name if isinstance(choice, bodies.NamedTool) else None
    if choice not in (None, "none") and not tools:
        raise BadRequest("'tool_choice' needs 'tools'.", param="tool_choice")
    if named is not None and named not in names:
        raise BadRequest(f"'tool_choice' names '{named}', which is not in 'tools'.", param="tool_choice")
    if choice in (None, "auto", "none"):
        return None
    wanted = [tool for tool in tools if named in (None, tool.function.name)]
    shapes = [_shape(tool) for tool in wanted]
    return Grammar("json_schema", text_of(shapes[0] if len(shapes) == 1 else {"anyOf": shapes}, "tools"))


def _shape(tool: bodies.Tool) -> dict[str, Any]:
    arguments = tool.function.parameters or {"type": "object", "properties": {}}
    return {
        "type": "object",
        "properties": {"name": {"enum": [tool.function.name]}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def promised(tools: list[bodies.Tool] | None, choice: Any) -> dict[str, Strict]:
    """The schemas that arguments are checked against: those of strict functions that the model may call or not. Where
    it must, the output is held to them. BadRequest for a schema that cannot be checked."""
    if not tools or choice not in (None, "auto"):
        return {}
    return {
        tool.function.name: Strict(tool.function.parameters or {}, f"tools[{index}].function.parameters")
        for index, tool in enumerate(tools)
        if tool.function.strict
    }


class Reader:
    """Reads one answer as it is written: `feed` gives text that is certainly text, and calls that are complete.

    A call of a function in `strict` whose arguments do not fit is text, and so is a second call without `several`.
    """

    def __init__(
        self,
        tools: list[dict[str, Any]] | None,
        *,
        several: bool = True,
        strict: Mapping[str, Strict] = MappingProxyType({}),
    ) -> None:
        self._names = frozenset(tool["function"]["name"] for tool in tools or ())
        self._strict = strict
        self._several = several
        self._held = ""
        self._start = bool(self._names)
        self._inside = False
        self._said = False
        self.calls: list[Called] = []

    def feed(self, text: str) -> tuple[str, list[Called]]:
        """More of the answer."""
        if not self._names:
            return text, []
        self._held += text
        return self._read(ended=False)

    def end(self) -> tuple[str, list[Called]]:
        """The answer is over: what was held back is a call or text."""
        return self._read(ended=True)

    def _read(self, *, ended: bool) -> tuple[str, list[Called]]:
        if self._start:
            if _may_be_bare(self._held) and not ended:
                return "", []
            self._start = False
            bare = self._call(self._held)
            if bare is not None:
                self._held = ""
                return "", self._keep(bare)
        text: list[str] = []
        calls: list[Called] = []
        while True:
            if self._inside:
                if not self._take_call(text, calls, ended=ended):
                    break
                continue
            before, mark, after = self._held.partition(OPEN)
            if mark:
                self._say(before, text)
                self._held, self._inside = after, True
                continue
            keep = 0 if ended else _beginning_of(OPEN, before)
            if not (self._said or ended) and not before[: len(before) - keep].strip():
                keep = len(before)  # space before the first word may be the space before a call
            self._say(before[: len(before) - keep], text)
            self._held = before[len(before) - keep :]
            break
        return "".join(text), calls

    def _say(self, words: str, text: list[str]) -> None:
        """Text; the space around calls is none."""
        blank = not words.strip()
        if words and not (blank and (self.calls or self._inside or (self._names and not self._said))):
            text.append(words)
            self._said = True

    def _take_call(self, text: list[str], calls: list[Called], *, ended: bool) -> bool:
        """What stands between the tags; False while its end has not come. A tag left open at the end is closed there:
        the closing one may have been a stop."""
        inner, mark, after = self._held.partition(CLOSE)
        if not mark and not ended:
            return False
        called = self._call(inner)
        if called is None:
            text.append(OPEN + inner + mark)
            self._said = True
        else:
            calls += self._keep(called)
        self._held, self._inside = after, False
        return True

    def _keep(self, called: Called) -> list[Called]:
        if self.calls and not self._several:
            return []
        self.calls.append(called)
        return [called]

    def _call(self, text: str) -> Called | None:
        """The call in a JSON object, if it is one of a known tool."""
        found = _object(text)
        if found is None or str(found.get("name")) not in self._names:
            return None
        name, arguments = str(found["name"]), found.get("arguments", found.get("parameters", {}))
        if isinstance(arguments, str):
            arguments = _object(arguments)
        if not isinstance(arguments, dict) or (name in self._strict and not self._strict[name].fits(arguments)):
            return None
        return Called(name, json.dumps(arguments, ensure_ascii=False))


def _object(text: str) -> dict[str, Any] | None:
    """The JSON object that a text is, if it is one."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _may_be_bare(text: str) -> bool:
    head = _SPACE.sub("", text[:_HEAD])
    return _BARE.startswith(head) or head.startswith(_BARE)


def _beginning_of(mark: str, text: str) -> int:
    """How many characters at the end of the text may be the beginning of the mark."""
    for size in range(min(len(mark) - 1, len(text)), 0, -1):
        if mark.startswith(text[-size:]):
            return size
    return 0
