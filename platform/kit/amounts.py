"""Answers in an organisation's currency: fields that hold an amount are called after it, `cost_eur` for `cost_usd`.

Routes make their answers under the house's names; the border (`tenants.api`) calls them by the caller's currency. Which
fields hold amounts is read from what the route declares of its answer (`kit.schema.describe`), so that a key of the
caller's own (metadata, a column of data) is never touched, whatever it is called.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from kit.money import HOUSE, in_name
from kit.schema import COMPONENTS, Schema

Places = dict[str, Any]
"""Names of fields that are amounts, or lead to some → what is below each. Lists are passed through."""
_EVERY = "*"
"""Stands for the keys of a mapping, which are the data's own."""
_CHOICES = ("oneOf", "allOf", "anyOf")
_REFERENCE = "#/components/schemas/"


@cache
def places_in(method: Callable[..., Any]) -> Places:
    """Where the answer of a view's method has amounts; empty where it has none, or is no JSON object."""
    answers = getattr(method, "answers", None)
    return places_of(answers) if isinstance(answers, dict) else {}


def places_of(schema: Schema) -> Places:
    """Where something declared has amounts."""
    return _places(schema, ())


def _places(schema: Schema, within: tuple[str, ...]) -> Places:
    reference = schema.get("$ref", "")
    if reference:
        name = reference.removeprefix(_REFERENCE)
        return {} if name in within else _places(COMPONENTS[name], (*within, name))
    found: Places = {}
    for name, field in schema.get("properties", {}).items():
        below = _places(field, within)
        if below or name.endswith("_usd"):
            found[name] = below
    values = schema.get("additionalProperties")
    if isinstance(values, dict) and (below := _places(values, within)):
        found[_EVERY] = below
    parts = [one for kind in _CHOICES for one in schema.get(kind, ())]
    for part in [*parts, schema["items"]] if "items" in schema else parts:
        found = _merged(found, _places(part, within))
    return found


def _merged(one: Places, other: Places) -> Places:
    merged = dict(one)
    for name, below in other.items():
        merged[name] = _merged(merged.get(name, {}), below)
    return merged


def called(value: Any, places: Places, code: str) -> Any:
    """An answer with its amounts called after a currency; the very same where nothing changes."""
    if not places or code == HOUSE:
        return value
    if isinstance(value, list | tuple):
        return [called(one, places, code) for one in value]
    if not isinstance(value, Mapping):
        return value
    every: Places = places.get(_EVERY, {})
    return {
        in_name(name, code) if name in places else name: called(one, places.get(name, every), code)
        for name, one in value.items()
    }
