"""The API reference: the generated OpenAPI document, flattened into what the templates show."""

import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.utils.text import slugify
from drf_spectacular.generators import SchemaGenerator

from console.code import Sample
from console.reference_samples import Call, call_samples

METHODS = ("get", "post", "put", "patch", "delete")
DEEPEST = 3


@dataclass(frozen=True, slots=True)
class Field:
    """One parameter or property."""

    name: str
    type: str
    required: bool
    text: str
    depth: int = 0
    where: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A status other than success, and when it is answered."""

    status: str
    text: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    id: str
    method: str
    path: str
    title: str
    text: str
    parameters: list[Field] = field(default_factory=list)
    body: list[Field] = field(default_factory=list)
    answer: list[Field] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    example: str = ""
    scope: str = ""
    refusals: list[Refusal] = field(default_factory=list)
    media: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Operations on one thing."""

    slug: str
    name: str
    operations: list[Operation]


@lru_cache(maxsize=1)
def groups() -> list[Group]:
    """All operations by resource, in the document's order. Built once per process."""
    schema = SchemaGenerator().get_schema(request=None, public=True)
    return flatten(schema, settings.BASE_URL)


def flatten(schema: dict[str, Any], base_url: str) -> list[Group]:
    """Groups of an OpenAPI 3 document."""
    found: dict[str, list[Operation]] = {}
    for path, item in schema.get("paths", {}).items():
        for method in METHODS:
            if method in item:
                found.setdefault(_group(path), []).append(_operation(schema, base_url, path, method, item[method]))
    return [Group(slugify(name), name, operations) for name, operations in sorted(found.items())]


def _group(path: str) -> str:
    """`/v1/fine_tuning/jobs/{id}` → "Fine-tuning jobs"."""
    names = [part for part in path.strip("/").split("/")[1:] if not part.startswith("{")]
    if names[:1] in (["fine_tuning"], ["organization"]):
        names = names[:2]
    else:
        names = names[:1]
    return " ".join(names).replace("fine_tuning", "fine-tuning").replace("_", " ").capitalize()


def _operation(schema: dict[str, Any], base_url: str, path: str, method: str, raw: dict[str, Any]) -> Operation:
    text = raw.get("description", "").strip()
    title = raw.get("summary") or text.split("\n")[0].split(". ")[0].rstrip(".") or f"{method.upper()} {path}"
    body_schema = _content(schema, raw.get("requestBody", {}))
    answer = next((found for code, found in _responses(raw) if code.startswith("2")), {})
    answer_schema = _content(schema, answer)
    body = _fields(schema, body_schema)
    return Operation(
        id=slugify(f"{method}-{path.replace('/', '-')}"),
        method=method.upper(),
        path=path,
        title=title,
        text=text if text != title and text.rstrip(".") != title else "",
        parameters=[_parameter(schema, p) for p in raw.get("parameters", [])],
        body=body,
        answer=_fields(schema, answer_schema),
        samples=call_samples(_call(schema, base_url, path, method, raw)),
        example=json.dumps(example(schema, answer_schema), indent=2, ensure_ascii=False) if body_of(answer) else "",
        scope=raw.get("x-scope") or "",
        refusals=[Refusal(code, r["description"]) for code, r in _responses(raw) if not code.startswith("2")],
        media=", ".join(answer.get("content", {})),
    )


def _call(schema: dict[str, Any], base_url: str, path: str, method: str, raw: dict[str, Any]) -> Call:
    """An example call: the path's and the body's own examples, or the required fields alone."""
    url = base_url + path
    for one in raw.get("parameters", []):
        if one["in"] == "path":
            url = url.replace("{" + one["name"] + "}", str(example(schema, one["schema"])))
    content = raw.get("requestBody", {}).get("content", {})
    body = _content(schema, raw.get("requestBody", {}))
    chosen = content.get("application/json", {})
    value = chosen.get("example", example(schema, body) if body else None)
    required = set(body.get("required", []))
    if "example" not in chosen and isinstance(value, dict):
        value = {name: one for name, one in value.items() if name in required}
    answers = [found for code, found in _responses(raw) if code.startswith("2")]
    readable = not answers or body_of(answers[0])
    streams = bool(answers) and "text/event-stream" in answers[0].get("content", {})
    return Call(url, method, value, form="multipart/form-data" in content, json=readable, streams=streams)


def body_of(answer: dict[str, Any]) -> bool:
    """Whether an answer is JSON, so that its fields can be shown."""
    return "application/json" in answer.get("content", {})


def _responses(raw: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return sorted((str(code), answer) for code, answer in raw.get("responses", {}).items())


def _content(schema: dict[str, Any], holder: dict[str, Any]) -> dict[str, Any]:
    content = holder.get("content", {})
    chosen: dict[str, Any] = content.get("application/json") or next(iter(content.values()), {})
    return resolve(schema, chosen.get("schema", {}))


def resolve(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Follow `$ref` and single `allOf`."""
    for _hop in range(8):
        if "$ref" in node:
            target: Any = schema
            for part in node["$ref"].lstrip("#/").split("/"):
                target = target.get(part, {})
            node = {**target, **{k: v for k, v in node.items() if k != "$ref"}}
        elif len(node.get("allOf", [])) == 1:
            node = {**node["allOf"][0], **{k: v for k, v in node.items() if k != "allOf"}}
        else:
            break
    return node


def type_name(schema: dict[str, Any], node: dict[str, Any]) -> str:
    """A short name of a schema's type."""
    node = resolve(schema, node)
    if "enum" in node:
        return " | ".join(json.dumps(v) for v in node["enum"][:6])
    for union in ("oneOf", "anyOf"):
        if union in node:
            return " | ".join(dict.fromkeys(type_name(schema, n) for n in node[union]))
    kind = node.get("type", "object" if "properties" in node else "any")
    if isinstance(kind, list):
        return " | ".join(kind)
    if kind == "array":
        return f"{type_name(schema, node.get('items', {}))}[]"
    return f"{kind} or null" if node.get("nullable") else str(kind)


def _parameter(schema: dict[str, Any], raw: dict[str, Any]) -> Field:
    raw = resolve(schema, raw)
    return Field(
        raw["name"],
        type_name(schema, raw.get("schema", {})),
        bool(raw.get("required")),
        raw.get("description", ""),
        where=raw.get("in", ""),
    )


def _fields(schema: dict[str, Any], node: dict[str, Any], depth: int = 0) -> list[Field]:
    node = resolve(schema, node)
    if node.get("type") == "array" and depth == 0:
        node = resolve(schema, node.get("items", {}))
    out: list[Field] = []
    for name, raw in node.get("properties", {}).items():
        child = resolve(schema, raw)
        out.append(
            Field(name, type_name(schema, child), name in node.get("required", []), child.get("description", ""), depth)
        )
        inner = resolve(schema, child.get("items", {})) if child.get("type") == "array" else child
        if depth < DEEPEST and inner.get("properties"):
            out += _fields(schema, inner, depth + 1)
    return out


def example(schema: dict[str, Any], node: dict[str, Any], depth: int = 0) -> Any:
    """A value of a schema: its own example, default or first choice, else one of its type."""
    node = resolve(schema, node)
    for key in ("example", "default"):
        if key in node and not (key == "default" and node[key] is None):
            return node[key]
    if "enum" in node:
        return node["enum"][0]
    for union in ("oneOf", "anyOf"):
        if node.get(union):
            return example(schema, node[union][0], depth)
    kind = node.get("type")
    if kind == "object" or "properties" in node:
        if depth > DEEPEST:
            return {}
        return {name: example(schema, raw, depth + 1) for name, raw in node.get("properties", {}).items()}
    if kind == "array":
        return [example(schema, node.get("items", {}), depth + 1)]
    return {"integer": node.get("minimum", 0), "number": 0, "boolean": True, "string": "…"}.get(str(kind))
