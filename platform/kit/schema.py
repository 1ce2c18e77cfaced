"""What the API reference says of a route, beside the route, and the check that a query holds nothing else.

`describe` puts one declaration on a view's method: what it answers, which query fields it reads, which refusals it has
of its own. The OpenAPI document is made from it, and `check_query` refuses by it, so the two cannot come apart.
Objects that several routes answer are named once with `component`.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema

from kit.errors import BadRequest

Schema = dict[str, Any]
View = TypeVar("View", bound=Callable[..., Any])

COMPONENTS: dict[str, Schema] = {}
"""Named objects of all rooms; the document's hook adds them."""
REPEATED = "x-repeated"
_KINDS: dict[type, str] = {str: "string", int: "integer", bool: "boolean"}
REUSED = "The Idempotency-Key was used with another body."
_MAP = re.compile(r"[a-z_]{1,40}\[.{1,64}\]", re.DOTALL)


def _value(kind: str, words: str, null: bool, more: Mapping[str, Any]) -> Schema:
    return {"type": kind, "description": words, **({"nullable": True} if null else {}), **more}


def string(words: str, *, null: bool = False, **more: Any) -> Schema:
    """A text."""
    return _value("string", words, null, more)


def one_of(words: str, choices: Sequence[str], *, null: bool = False, **more: Any) -> Schema:
    """A text out of a few."""
    return _value("string", words, null, {"enum": list(choices), **more})


def whole(words: str, *, null: bool = False, **more: Any) -> Schema:
    """An integer."""
    return _value("integer", words, null, more)


def number(words: str, *, null: bool = False, **more: Any) -> Schema:
    """A number that may have a fraction."""
    return _value("number", words, null, more)


def truth(words: str, *, null: bool = False, **more: Any) -> Schema:
    """True or false."""
    return _value("boolean", words, null, more)


def moment(words: str, *, null: bool = False) -> Schema:
    """A time in Unix seconds."""
    return whole(f"{words} Unix seconds.", null=null, example=1_795_898_464)


def thing(words: str, fields: Mapping[str, Schema], *, null: bool = False, optional: Iterable[str] = ()) -> Schema:
    """An object with known fields; those not in `optional` are always there."""
    required = [name for name in fields if name not in set(optional)]
    return _value("object", words, null, {"required": required, "properties": dict(fields)})


def mapping(words: str, values: Schema | bool = True, *, null: bool = False, **more: Any) -> Schema:
    """An object with keys of the caller's or of the data."""
    return _value("object", words, null, {"additionalProperties": values, **more})


def many(words: str, items: Schema, *, null: bool = False, **more: Any) -> Schema:
    """A list."""
    return _value("array", words, null, {"items": items, **more})


def either(words: str, *choices: Schema, **more: Any) -> Schema:
    """One of several types."""
    return {"oneOf": list(choices), "description": words, **more}


def component(name: str, schema: Schema) -> Schema:
    """Name an object that several routes answer; returns the reference to it."""
    COMPONENTS[name] = schema
    return {"$ref": f"#/components/schemas/{name}"}


def page_of(item: Schema, words: str, **more: Schema) -> Schema:
    """A cursor page."""
    fields = {
        "object": one_of("Always `list`.", ["list"]),
        "data": many(words, item),
        "first_id": string("Id of the first object of this page; null where it is empty.", null=True),
        "last_id": string("Id of the last object: the next page's `after`. Null where it is empty.", null=True),
        "has_more": truth("Whether there is another page."),
        **more,
    }
    return thing("One page.", fields)


def deleted(kind: str, words: str, **more: Schema) -> Schema:
    """The answer to a delete."""
    fields = {
        "id": string("What was named in the path."),
        "object": one_of("The kind of object.", [kind]),
        "deleted": truth("Always true."),
        **more,
    }
    return thing(words, fields)


def query(
    name: str, kind: type, words: str, *, choices: Sequence[str] = (), repeated: bool = False, example: Any = None
) -> OpenApiParameter:
    """A query field. `repeated` ones are read as `name=a&name=b` and as `name[]=a`."""
    schema: Schema = {"type": _KINDS[kind]}
    if choices:
        schema["enum"] = list(choices)
    if example is not None:
        schema["example"] = example
    if repeated:
        schema = {"type": "array", "items": schema}
    return OpenApiParameter(name, schema, description=words, extensions={REPEATED: True} if repeated else None)


def paging(*, default: int, maximum: int, order: bool = True) -> list[OpenApiParameter]:
    """The query fields of a cursor page."""
    fields = [
        query("after", str, "Id of the last object of the page before; leave it out for the first page."),
        query("limit", int, f"Objects on a page, 1 to {maximum:,}; {default:,} by default.", example=default),
    ]
    if order:
        words = "By time of creation: `desc`, the default, begins with the newest."
        fields.append(query("order", str, words, choices=("asc", "desc")))
    return fields


def describe(
    *,
    name: str,
    answers: Any,
    words: str = "The answer.",
    takes: Any = None,
    fields: Iterable[OpenApiParameter] = (),
    maps: Iterable[str] = (),
    refuses: Mapping[int, str] | None = None,
    once: bool = False,
    example: Mapping[str, Any] | None = None,
) -> Callable[[View], View]:
    """Declare a method. `maps` names query fields of the form `name[key]=value`; `refuses` its own refusals.

    `once` says that a create goes through `tenants.idempotency`; `example` is a body that works.
    """
    known, refusals = list(fields), dict(refuses or {})
    if once:
        refusals[422] = " ".join(filter(None, (refusals.get(422), REUSED)))

    def on(method: View) -> View:
        method.query_fields = {one.name: bool((one.extensions or {}).get(REPEATED)) for one in known}  # type: ignore[attr-defined]
        method.query_maps = frozenset(maps)  # type: ignore[attr-defined]
        method.refusals, method.once, method.example = refusals, once, example  # type: ignore[attr-defined]
        method.answers = answers  # type: ignore[attr-defined]
        bytes_ = isinstance(answers, Mapping) and all(isinstance(key, tuple) for key in answers)
        responses: Any = {200: OpenApiResponse(answers, description=words)}
        if bytes_:
            responses = {kind: OpenApiResponse(one, description="The bytes.") for kind, one in answers.items()}
        decorated: View = extend_schema(operation_id=name, request=takes, parameters=known, responses=responses)(method)
        return decorated

    return on


def check_query(names: Mapping[str, Sequence[str]], method: Any) -> None:
    """BadRequest for a query field that the method does not read, or one that stands twice where one is read."""
    known: dict[str, bool] = getattr(method, "query_fields", {})
    maps: frozenset[str] = getattr(method, "query_maps", frozenset())
    for name, values in names.items():
        bare = name.removesuffix("[]")
        if name in known or known.get(bare, False):
            if len(values) > 1 and not known[bare]:
                raise BadRequest(f"The query field '{name}' stands {len(values)} times; send it once.", param=name)
        elif not (_MAP.fullmatch(name) and name.partition("[")[0] in maps):
            listed = f"This route reads {', '.join(known)}." if known else "This route reads none."
            raise BadRequest(f"Unknown query field '{name[:80]}'. {listed}", param=name[:80])
