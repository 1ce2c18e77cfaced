"""The bodies that clients send: strict JSON into typed objects, with the path of what is wrong in `param`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import msgspec
from msgspec import inspect

from kit import strict_json
from kit.errors import BadRequest

T = TypeVar("T")

MAX_INPUTS = 2048
MAX_QUESTIONS = 400
MAX_REASON = 300
LARGE = 64 << 10
"""Bytes of a body that is counted before it is read."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
Short = Annotated[str, msgspec.Meta(max_length=256)]
Breakpoint = dict[str, Any]
"""Where a cache may end: a hint, which changes no answer. The page `errors` of the docs names all such fields."""
Dimensions = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
TopK = Annotated[int, msgspec.Meta(ge=1, le=10_000)]


class Body(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Base of all bodies."""


class Abstain(Body, frozen=True):
    """Answer only where it is sure enough: a precision that held-out rows support, or a bare threshold."""

    precision: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None


class Classify(Body, frozen=True):
    """POST /v1/classify."""

    model: Name
    input: str | list[str]
    top_k: TopK | None = None
    user: Short | None = None
    x_abstain: Abstain | bool | None = None
    x_explain: bool = False


class Embeddings(Body, frozen=True):
    """POST /v1/embeddings."""

    model: Name
    input: Any
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Dimensions | None = None
    user: Short | None = None


class Text(Body, frozen=True, tag_field="type", tag="input_text"):
    """A text part."""

    text: str
    prompt_cache_breakpoint: Breakpoint | None = None


class OutputText(Body, frozen=True, tag_field="type", tag="output_text"):
    """A text part of an earlier answer."""

    text: str


class Image(Body, frozen=True, tag_field="type", tag="input_image"):
    """Known, so that it can be refused in words."""

    image_url: Any = None
    file_id: Any = None
    detail: Any = None
    prompt_cache_breakpoint: Any = None


class Json(Body, frozen=True, tag_field="type", tag="input_json"):
    """Known, so that it can be refused in words."""

    data: Any = None
    prompt_cache_breakpoint: Any = None


class Refusal(Body, frozen=True, tag_field="type", tag="refusal"):
    """Known, so that it can be refused in words."""

    refusal: Any = None


Part = Text | OutputText | Image | Json | Refusal


class Item(Body, frozen=True):
    """A message of the input. Calls of tools, and what belongs to them, are known, so that they can be refused in
    words."""

    REFUSED: ClassVar[frozenset[str]] = frozenset(
        {"id", "call_id", "name", "namespace", "arguments", "input", "output", "status", "phase"}
    )
    content: str | list[Part] | None = None
    role: Literal["user", "system", "developer", "assistant"] | None = None
    type: Literal[
        "message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output"
    ] = "message"  # fmt: skip
    id: Any = None
    call_id: Any = None
    name: Any = None
    namespace: Any = None
    arguments: Any = None
    input: Any = None
    output: Any = None
    status: Any = None
    phase: Any = None


class Choice(Body, frozen=True):
    """One of the answers a choice allows."""

    value: str | bool
    description: str | None = None


class Level(Body, frozen=True):
    """One level of a score."""

    label: str
    description: str | None = None


Instructions = str | list[Part]


class Predicate(Body, frozen=True, tag_field="type", tag="predicate"):
    """How likely a statement is true."""

    instructions: Instructions = ""
    name: Short | None = None


class ChoiceQuestion(Body, frozen=True, tag_field="type", tag="choice"):
    """Which of several answers. Without `choices`, every label of the model is allowed."""

    instructions: Instructions = ""
    choices: list[Choice] | None = None
    name: Short | None = None


class Score(Body, frozen=True, tag_field="type", tag="score"):
    """A rating on ordered levels, which are labels of the model. Without `levels` they are all its labels, if those
    are whole numbers."""

    instructions: Instructions = ""
    levels: list[Level] | None = None
    name: Short | None = None


Question = Predicate | ChoiceQuestion | Score


class Decisions(Body, frozen=True):
    """POST /v1/decisions."""

    model: Name
    input: str | list[Item]
    questions: Annotated[list[Question], msgspec.Meta(min_length=1, max_length=MAX_QUESTIONS)]
    prompt_cache_key: Short | None = None
    prompt_cache_options: dict[str, Any] | None = None
    safety_identifier: Annotated[str, msgspec.Meta(max_length=128)] | None = None
    x_abstain: Abstain | bool | None = None
    x_explain: bool = False


_TYPE = re.compile(r"`([^`]*)`")
_TYPES = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}
"""Types in words that clients of any language know."""
_PATH = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_UNKNOWN = re.compile(r"unknown field `(?P<name>[^`]*)`")
_MISSING = re.compile(r"missing required field `(?P<name>[^`]*)`")


_STEP = re.compile(r"\.(?P<key>[^.\[]+)|\[(?P<index>\d+)\]")


def read(raw: bytes, kind: type[T]) -> T:
    """The body as `kind`. BadRequest names the field and what was expected there."""
    if len(raw) > LARGE:
        _count(raw, kind)
    value = strict_json.loads(raw)
    if not isinstance(value, dict):
        raise BadRequest("The body must be a JSON object.")
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _bad_request(str(error), kind, value) from error


def _count(raw: bytes, kind: type[Any]) -> None:
    """Refuse more of anything than a field takes, before each is looked at: of a hundred thousand items msgspec says so
    in a tenth of the time that strict reading takes, in which nobody else is served. Whatever else is wrong is said
    there."""
    try:
        msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        if " of length <= " in str(error):
            raise _bad_request(str(error), kind, None) from error
    except (ValueError, RecursionError):
        pass


def _bad_request(text: str, kind: type[Any], value: Any) -> BadRequest:
    """msgspec's sentence as ours: `Expected `str`, got `int` - at `$.questions[0].name``."""
    found = _PATH.search(text)
    path = found["path"].removeprefix(".") if found else ""
    reason = text[: found.start()] if found else text
    for pattern, words in ((_UNKNOWN, "Unknown field"), (_MISSING, "Missing field")):
        named = pattern.search(reason)
        if named:
            known = _known(kind, value, f".{path}" if path else "")
            listed = f" {'It takes' if path else 'This route reads'} {', '.join(known)}." if known else ""
            path = f"{path}.{named['name']}".strip(".")
            return BadRequest(f"{words} '{path[:200]}'.{listed}", param=path[:200])
    reason = _TYPE.sub(lambda found: " or ".join(_TYPES.get(one, one) for one in found[1].split(" | ")), reason)
    shown = reason if len(reason) <= MAX_REASON else f"{reason[:MAX_REASON]}…"  # it may quote what was sent
    return BadRequest(f"{path[:200] or 'The body'}: {shown}.", param=path[:200] or None)


def _known(kind: type[Any], value: Any, path: str) -> list[str]:
    """The fields of the object at a path of msgspec's; none where the path leads through names of the client's own."""
    found: Any = _struct(inspect.type_info(kind), value)
    steps = list(_STEP.finditer(path))
    if "".join(step[0] for step in steps) != path:
        return []
    for step in steps:
        if step["key"]:
            if not isinstance(found, inspect.StructType):
                return []
            fields = {field.encode_name: field.type for field in found.fields}
            found, value = fields.get(step["key"]), value[step["key"]]
        else:
            found, value = _list(found), value[int(step["index"])]
        found = _struct(found, value) or found
    if not isinstance(found, inspect.StructType):
        return []
    names = {field.encode_name for field in found.fields} - getattr(found.cls, "REFUSED", frozenset())
    return sorted(names | ({found.tag_field} if found.tag_field else set()))


def _options(kind: Any) -> Iterator[Any]:
    """What a type may be, without what surrounds it."""
    if isinstance(kind, inspect.Metadata):
        yield from _options(kind.type)
    elif isinstance(kind, inspect.UnionType):
        for one in kind.types:
            yield from _options(one)
    else:
        yield kind


def _struct(kind: Any, value: Any) -> inspect.StructType | None:
    """The kind of object that a value is to be, by its tag where there are several."""
    structs = [one for one in _options(kind) if isinstance(one, inspect.StructType)]
    for one in structs:
        if len(structs) == 1 or (isinstance(value, dict) and value.get(one.tag_field) == one.tag):
            return one
    return None


def _list(kind: Any) -> Any:
    """What a list holds; nothing where the type is none."""
    return next((one.item_type for one in _options(kind) if isinstance(one, inspect.ListType)), None)


def texts_of(value: str | list[str]) -> list[str]:
    """`input` as a list of one to 2,048 texts, none of them empty."""
    texts = [value] if isinstance(value, str) else value
    if not texts:
        raise BadRequest("'input' must hold at least one text.", param="input")
    if len(texts) > MAX_INPUTS:
        raise BadRequest(f"'input' holds {len(texts)} texts; at most {MAX_INPUTS} go in one request.", param="input")
    for index, text in enumerate(texts):
        if not text or text.isspace():
            param = "input" if isinstance(value, str) else f"input[{index}]"
            raise BadRequest(f"'{param}' is empty. Send a text.", param=param)
    return texts
