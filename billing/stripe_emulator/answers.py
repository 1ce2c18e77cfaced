"""From objects to answers: pages of lists, expanded fields, metadata."""

from __future__ import annotations

from typing import Any

from billing.stripe_emulator.errors import StripeError
from billing.stripe_emulator.registry import EXTRAS
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World, public

_CREATED = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def page(world: World, kind: str, params: Obj, url: str, where: dict[str, Any] | None = None) -> Obj:
    """One page of a list, newest first. `where` maps JSON paths to wanted values; None values are left out."""
    limit = params.get("limit", 10)
    if not 1 <= limit <= 100:
        raise StripeError("Invalid limit: must be between 1 and 100", param="limit")
    if "starting_after" in params and "ending_before" in params:
        raise StripeError("You can only use one of starting_after and ending_before.", param="ending_before")
    for edge in ("starting_after", "ending_before"):
        if edge in params:
            world.get(kind, params[edge], edge)
    wanted = {path: value for path, value in (where or {}).items() if value is not None}
    wanted.update(_created(params.get("created")))
    ids = world.store.ids(
        kind, wanted, after=params.get("starting_after"), before=params.get("ending_before"), limit=limit + 1
    )
    more = len(ids) > limit
    # Walking backwards, the surplus one is the newest.
    ids = (ids[1:] if "ending_before" in params else ids[:-1]) if more else ids
    return listing([world.fetch(object_id) for object_id in ids], url, more)


def _created(given: Any) -> dict[str, Any]:
    if given is None:
        return {}
    if isinstance(given, int):
        return {"created": given}
    return {"created": [(_CREATED[name], value) for name, value in given.items()]}


def listing(items: list[Obj], url: str, more: bool = False) -> Obj:
    """Stripe's list object."""
    return {"object": "list", "data": items, "has_more": more, "url": url}


def slice_of(items: list[Obj], params: Obj, url: str) -> Obj:
    """A page of a list that lives inside one object (invoice lines, session items)."""
    ids = [item["id"] for item in items]
    start = 0
    if (after := params.get("starting_after")) is not None:
        if after not in ids:
            raise StripeError(f"No such object: '{after[:80]}'", code="resource_missing", param="starting_after")
        start = ids.index(after) + 1
    limit = params.get("limit", 10)
    return listing(items[start : start + limit], url, len(items) > start + limit)


def render(world: World, obj: Obj, expand: list[str] | None) -> Obj:
    """The answer: private notes gone, and the named fields replaced by their objects."""
    answer = public(obj)
    if answer.get("object") in ("list", "search_result"):
        answer["data"] = [public(item) for item in obj["data"]]
    for path in expand or []:
        _expand(world, answer, path.split("."), path)
    return answer


def _expand(world: World, node: Any, parts: list[str], path: str) -> None:
    if isinstance(node, list):
        for item in node:
            _expand(world, item, parts, path)
        return
    if not isinstance(node, dict) or not parts:
        return
    name, rest = parts[0], parts[1:]
    value = node.get(name)
    kind = str(node.get("object"))
    inside = EXTRAS.get((kind, ".".join(parts))) if rest else None
    if inside is not None:  # of a part of the object
        node[name] = {**node[name], rest[0]: inside(world, world.fetch(node["id"]))}
        return
    special = EXTRAS.get((kind, name))
    if special is not None and value is None:
        node[name] = special(world, world.fetch(node["id"]))
    elif isinstance(value, str):
        node[name] = _object(world, value, path)
    elif isinstance(value, list) and any(isinstance(item, str) for item in value):
        node[name] = [_object(world, item, path) if isinstance(item, str) else item for item in value]
    elif name not in node:
        raise StripeError(f"This property cannot be expanded ({path}).", param="expand")
    _expand(world, node[name], rest, path)


def _object(world: World, object_id: str, path: str) -> Obj:
    found = world.maybe(object_id)
    if found is None:
        raise StripeError(f"This property cannot be expanded ({path}).", param="expand")
    return public(found)


def assign(obj: Obj, params: Obj, *names: str) -> None:
    """Copy the given parameters onto an object; an empty string unsets, metadata merges."""
    for name in names:
        if name not in params:
            continue
        if name == "metadata":
            obj["metadata"] = merged_metadata(obj.get("metadata") or {}, params["metadata"])
        else:
            obj[name] = None if params[name] == "" else params[name]


def unset(given: Obj) -> Obj:
    """A hash with its empty strings, which mean "unset", as nulls."""
    return {name: None if value == "" else value for name, value in given.items()}


def by_currency(given: Any, name: str) -> Obj:
    """One amount per currency of a `currency_options` parameter; a currency that is unset (empty) is left out."""
    options = given if isinstance(given, dict) else {}
    return {code.lower(): option[name] for code, option in options.items() if option and name in option}


def merged_metadata(old: dict[str, str], given: Any) -> dict[str, str]:
    """Stripe's rule: empty clears all, an empty value unsets its key. Raises over its limits."""
    if given == "":
        return {}
    out = {**old, **given}
    out = {key: value for key, value in out.items() if value != ""}
    if len(out) > 50:
        raise StripeError("Metadata can have at most 50 keys.", param="metadata")
    for key, value in out.items():
        if len(key) > 40 or len(value) > 500:
            raise StripeError(
                f"Invalid metadata: key {key[:40]} or its value is too long (40 and 500 characters at most).",
                param=f"metadata[{key[:40]}]",
            )
    return out
