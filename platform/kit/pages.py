"""Cursor pages as the OpenAI wire has them: {"object": "list", data, first_id, last_id, has_more}."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from kit.errors import BadRequest, NotFound


def read_limit(raw: object, *, default: int, maximum: int, param: str = "limit") -> int:
    """A page size from a query string."""
    if raw is None or raw == "":
        return default
    text = str(raw)
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise BadRequest(f"'{param}' must be a whole number from 1 to {maximum}.", param=param)
    limit = int(text)
    if not 1 <= limit <= maximum:
        raise BadRequest(f"'{param}' must be from 1 to {maximum}; it is {limit}.", param=param)
    return limit


def cursor_page(
    rows: QuerySet[Any],
    query: Any,
    *,
    parse: Callable[[str], UUID],
    render: Callable[[Any], dict[str, Any]],
    default: int = 20,
    maximum: int = 100,
) -> dict[str, Any]:
    """One page of `rows`, ordered by id (which is creation order), after the id in `?after=`.

    `query` is a request's query mapping; `parse` reads a public id, `render` gives an object with an `id`.
    A cursor that is not one of the caller's own rows is a 400, whoever else may own it.
    """
    limit = read_limit(query.get("limit"), default=default, maximum=maximum)
    order = query.get("order", "desc")
    if order not in {"asc", "desc"}:
        raise BadRequest("'order' must be asc or desc.", param="order")
    after = query.get("after")
    if after:
        try:
            cursor = parse(after)
        except NotFound:
            cursor = None
        if cursor is None or not rows.filter(pk=cursor).exists():
            raise BadRequest(f"'after' is not an id of this list: '{str(after)[:100]}'.", param="after")
        rows = rows.filter(Q(pk__lt=cursor) if order == "desc" else Q(pk__gt=cursor))
    found = list(rows.order_by("-pk" if order == "desc" else "pk")[: limit + 1])
    data = [render(row) for row in found[:limit]]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(found) > limit,
    }
