"""A chat as the engine reads it: roles that templates know, contents as plain text."""

from __future__ import annotations

from typing import Any

from gateway.errors import Unsupported
from gateway.writing import bodies
from kit.errors import BadRequest

_ROLES = {"developer": "system", "function": "tool"}
"""New and old names of roles that chat templates know under another."""
_ONLY_ASSISTANT = ("tool_calls", "refusal", "audio", "function_call")


def plain(messages: list[bodies.Message]) -> list[dict[str, Any]]:
    """The messages for the engine. BadRequest names the message, such as `messages[2].content`."""
    return [_plain(message, f"messages[{index}]") for index, message in enumerate(messages)]


def _plain(message: bodies.Message, at: str) -> dict[str, Any]:
    _check(message, at)
    found: dict[str, Any] = {"role": _ROLES.get(message.role, message.role), "content": _content(message, at)}
    if message.name is not None:
        found["name"] = message.name
    if message.tool_call_id is not None:
        found["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        found["tool_calls"] = [
            {"id": one.id, "type": "function", "function": {"name": one.function.name,
                                                            "arguments": one.function.arguments}}
            for one in message.tool_calls
        ]  # fmt: skip
    return found


def _check(message: bodies.Message, at: str) -> None:
    """Fields that go with the role."""
    if message.role != "assistant":
        for name in _ONLY_ASSISTANT:
            if getattr(message, name) is not None:
                raise BadRequest(f"'{at}.{name}' goes with the role assistant only.", param=f"{at}.{name}")
    if message.audio is not None:
        raise Unsupported(f"'{at}.audio': this model reads text only. Send the text.", param=f"{at}.audio")
    if message.function_call is not None:
        raise Unsupported(f"'{at}.function_call' is the old form. Send 'tool_calls'.", param=f"{at}.function_call")
    if message.role == "tool" and message.tool_call_id is None:
        raise BadRequest(
            f"'{at}.tool_call_id' is missing: say which call this is the result of.", param=f"{at}.tool_call_id"
        )
    if message.role != "tool" and message.tool_call_id is not None:
        raise BadRequest(f"'{at}.tool_call_id' goes with the role tool only.", param=f"{at}.tool_call_id")


def _content(message: bodies.Message, at: str) -> str:
    content = message.content
    if content is None:
        if message.role == "assistant" and (message.tool_calls or message.refusal is not None):
            return message.refusal or ""
        raise BadRequest(f"'{at}.content' is missing. Send a text.", param=f"{at}.content")
    if isinstance(content, str):
        return content
    return "\n".join(_part(part, f"{at}.content[{index}]") for index, part in enumerate(content))


def _part(part: bodies.Part, at: str) -> str:
    if isinstance(part, bodies.Text):
        return part.text
    if isinstance(part, bodies.Refusal):
        return part.refusal
    raise Unsupported(f"'{at}': this model reads text only; images, audio and files cannot be sent to it.", param=at)
