"""A conversation as the text a causal model reads: the same for training, for serving and for counting tokens.

A base says how in its chat template (Jinja, rendered in the sandbox of transformers, which imports no torch for it).
One without a template gets `PLAIN`: each message under its role's name, each answer closed by the end token. The text
holds its special tokens already: encode it with `add_special_tokens=False`.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.errors import BadArtefact, BadRequest

OPTIONAL_FILES = ("tokenizer_config.json", "chat_template.jinja", "generation_config.json")
"""What a base folder may hold beside the three files that every base has; all of it shapes what a model reads."""
SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
DEFAULT_TEMPLATE = "default"  # of several in one tokenizer_config.json
# A prompt ends with a line break, so that the answer's first token does not depend on what stands before it.
PLAIN = (
    "{{ bos_token }}"
    "{% if tools %}{{ 'Tools:\\n' + (tools | tojson) + '\\n' }}{% endif %}"
    "{% for message in messages %}"
    "{{ (message.role | capitalize) + ':\\n' + message.content }}"
    "{% if message.tool_calls %}{{ message.tool_calls | tojson }}{% endif %}"
    "{{ (eos_token if message.role == 'assistant' else '') + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:\\n' }}{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Voice:
    """How a base is spoken to. `special` maps the names of `SPECIAL` to their text; `ends` are the ids at which what
    it writes is over, the one it is to write first; `tools` says whether its template writes tools down."""

    template: str | None
    special: dict[str, str]
    ends: tuple[int, ...]
    tools: bool = True


def render(
    messages: Sequence[Mapping[str, Any]],
    *,
    template: str | None,
    tools: Sequence[Mapping[str, Any]] | None = None,
    add_generation_prompt: bool,
    special: Mapping[str, str],
) -> str:
    """The text of a conversation by a template, or by `PLAIN` where there is none.

    With `add_generation_prompt` it ends where the assistant's answer begins. Contents may be text or OpenAI's parts of
    text. Raises `BadRequest` where the template refuses the messages, in its own words.
    """
    names = {name: special.get(name, "") for name in ("bos_token", "eos_token")} | dict(special)
    try:
        texts, _ = _library().render_jinja_template(
            conversations=[[_plain(message) for message in messages]],
            tools=[dict(tool) for tool in tools] if tools else None,
            chat_template=PLAIN if template is None else template,
            add_generation_prompt=add_generation_prompt,
            **names,
        )
    except Exception as error:  # a template can fail in as many ways as a program
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadRequest(f"The model's chat template refuses these messages: {said[:300]}") from error
    text: str = texts[0]
    return text


def read_voice(folder: Path) -> Voice:
    """How the base in a folder is spoken to. Raises `BadArtefact` for files that cannot be read."""
    words = _read(folder / "tokenizer_config.json")
    special = {name: text for name in SPECIAL if (text := _token(words.get(name)))}
    ids = _ids(_read(folder / "generation_config.json").get("eos_token_id"))
    if not ids:
        ids = _ids(_read(folder / "config.json").get("eos_token_id"))
    template = _template(folder, words)
    if template is None and ids:
        special |= _end(folder, ids[0])
    return Voice(template, special, tuple(ids), template is None or _reads_tools(template))


def _reads_tools(template: str) -> bool:
    """Whether a template reads the tools it is given: one that does not would drop them without a word. One that is no
    template is refused when it is rendered, in its own words."""
    try:
        environment = _library()._compile_jinja_template(template).environment
        found: set[str] = importlib.import_module("jinja2.meta").find_undeclared_variables(environment.parse(template))
    except Exception:  # a template can fail in as many ways as a program
        return True
    return "tools" in found


def _end(folder: Path, token: int) -> dict[str, str]:
    """The text of the token that the base names first as an end: `PLAIN` closes answers with it. Of several the
    tokenizer's own may be one that the base was never trained on."""
    added = _read(folder / "tokenizer.json").get("added_tokens")
    for one in added if isinstance(added, list) else []:
        if isinstance(one, dict) and one.get("id") == token and _token(one):
            return {"eos_token": _token(one)}
    return {}


def _plain(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message with its parts of text as one text, and without what is for training alone."""
    plain = {key: value for key, value in message.items() if key != "weight" and value is not None}
    content = message.get("content")
    if isinstance(content, list):
        content = "\n".join(str(part.get("text") or "") for part in content if isinstance(part, Mapping))
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        plain["tool_calls"] = [_call(one) if isinstance(one, Mapping) else one for one in calls]
    return plain | {"content": content or ""}


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    """A tool call with its arguments as an object: templates write them as JSON, and would quote a text once more."""
    function = call.get("function")
    arguments = function.get("arguments") if isinstance(function, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(arguments, str):
        return dict(call)
    try:
        return {**call, "function": {**function, "arguments": json.loads(arguments or "{}")}}
    except (ValueError, RecursionError):
        return dict(call)


def _template(folder: Path, words: Mapping[str, Any]) -> str | None:
    """The template of a base: a file of its own, or one in its tokenizer's configuration."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise BadArtefact("The base's chat_template.jinja cannot be read.") from error
    found = words.get("chat_template")
    if isinstance(found, list):
        named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
        found = named.get(DEFAULT_TEMPLATE)
    return found if isinstance(found, str) and found.strip() else None


def _token(value: Any) -> str:
    """A special token's text: written as it is, or as an object with its `content`."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else ""


def _ids(value: Any) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, int) and not isinstance(one, bool) and one >= 0]


def _read(path: Path) -> dict[str, Any]:
    """A JSON object of the folder; nothing where there is no such file."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadArtefact(f"The base's {path.name} cannot be read.") from error
    if not isinstance(found, dict):
        raise BadArtefact(f"The base's {path.name} is not a JSON object.")
    return found


@functools.cache
def _library() -> Any:
    """The part of transformers that renders, offline."""
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    return importlib.import_module("transformers.utils.chat_template_utils")
