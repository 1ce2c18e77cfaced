"""Search: Stripe's query language over the fields that it names for each kind.

`field:"text"`, `field~"part"`, `field>5`, `metadata["key"]:"value"`, `field:null`, `-` before a clause, AND or OR
between them but never both. Stripe finds a new object within a minute; here it is found at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from billing.stripe_emulator.errors import StripeError
from billing.stripe_emulator.registry import route
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import World

MOST_CLAUSES = 10
SHORTEST_PART = 3
_CLAUSE = re.compile(
    r"""\s*(?P<not>-)?(?P<field>[a-z_.]+)(?:\["(?P<key>(?:[^"\\]|\\.)*)"\])?\s*(?P<op>:|~|>=|<=|>|<|=)\s*"""
    r"""(?:"(?P<text>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)'|(?P<bare>null|true|false|-?\d+(?:\.\d+)?))"""
)
_JOIN = re.compile(r"\s+(?:(AND|OR)\s+)?", re.IGNORECASE)
NUMBER, TOKEN, TEXT = "numeric", "token", "string"
FIELDS: dict[str, dict[str, str]] = {
    "customer": {"created": NUMBER, "email": TEXT, "name": TEXT, "phone": TEXT},
    "subscription": {"created": NUMBER, "status": TEXT, "canceled_at": NUMBER},
    "invoice": {
        "created": NUMBER,
        "currency": TEXT,
        "customer": TOKEN,
        "number": TEXT,
        "receipt_number": TEXT,
        "status": TEXT,
        "subscription": TOKEN,
        "total": NUMBER,
    },
    "product": {"active": TOKEN, "description": TEXT, "name": TEXT, "shippable": TOKEN, "url": TEXT},
    "price": {"active": TOKEN, "currency": TEXT, "lookup_key": TEXT, "product": TOKEN, "type": TOKEN},
    "payment_intent": {"amount": NUMBER, "created": NUMBER, "currency": TEXT, "customer": TOKEN, "status": TEXT},
    "charge": {
        "amount": NUMBER,
        "created": NUMBER,
        "currency": TEXT,
        "customer": TOKEN,
        "disputed": TOKEN,
        "refunded": TOKEN,
        "status": TEXT,
    },
}


@dataclass(frozen=True)
class Clause:
    """One comparison."""

    field: str
    key: str | None
    op: str
    value: str | None
    negated: bool
    numeric: bool

    def fits(self, obj: Obj) -> bool:
        """Whether an object is among those asked for."""
        return self._fits(self._of(obj)) != self.negated

    def _of(self, obj: Obj) -> Any:
        if self.field == "metadata":
            return (obj["metadata"] or {}).get(self.key)
        if self.field == "subscription":
            return (((obj["parent"] or {}).get("subscription_details")) or {}).get("subscription")
        return obj[self.field]

    def _fits(self, found: Any) -> bool:
        if self.value is None or found is None:
            return self.value is None and found is None
        if self.numeric:
            wanted = float(self.value)
            return {
                ">": found > wanted,
                "<": found < wanted,
                ">=": found >= wanted,
                "<=": found <= wanted,
            }.get(self.op, found == wanted)
        text, wanted_text = str(found).lower(), self.value.lower()
        return wanted_text in text if self.op == "~" else text == wanted_text


def query_read(kind: str, query: str) -> Callable[[Obj], bool]:
    """What a query asks for, as a test of objects. Raises Stripe's 400 for one that is not well formed."""
    clauses, joins, at = [], set(), 0
    while at < len(query):
        hit = _CLAUSE.match(query, at)
        if hit is None:
            raise _wrong(f"We were unable to parse your search query near: {query[at : at + 40]}")
        clauses.append(_clause(kind, hit))
        at = hit.end()
        if not query[at:].strip():
            break
        join = _JOIN.match(query, at)
        if join is None:
            raise _wrong(f"We were unable to parse your search query near: {query[at : at + 40]}")
        joins.add((join[1] or "AND").upper())
        at = join.end()
    if not 1 <= len(clauses) <= MOST_CLAUSES:
        raise _wrong(f"A search query has 1 to {MOST_CLAUSES} clauses.")
    if len(joins) > 1:
        raise _wrong("You cannot combine AND and OR in one search query.")
    every = any if joins == {"OR"} else all
    return lambda obj: every(clause.fits(obj) for clause in clauses)


def _wrong(message: str) -> StripeError:
    return StripeError(message, param="query")


def _clause(kind: str, hit: re.Match[str]) -> Clause:
    field, op = hit["field"], hit["op"]
    known = {**FIELDS[kind], "metadata": TEXT}
    if field not in known or (field == "metadata") != (hit["key"] is not None):
        names = ", ".join(sorted(known))
        raise _wrong(f"Field `{field[:60]}` is an unsupported search field for resource `{kind}s`. Known: {names}.")
    text = next((hit[name] for name in ("text", "single", "bare") if hit[name] is not None), "")
    value = None if hit["bare"] == "null" else re.sub(r"\\(.)", r"\1", text)
    numeric = known[field] == NUMBER
    if numeric and value is not None and not re.fullmatch(r"-?\d{1,15}(?:\.\d+)?", value):
        raise _wrong(f"Field `{field}` is numeric; it cannot be compared with {text[:40]}.")
    if op == "~" and (known[field] != TEXT or len(value or "") < SHORTEST_PART):
        raise _wrong(f"`~` takes a string field and at least {SHORTEST_PART} characters ({field}).")
    if op in (">", "<", ">=", "<=") and (not numeric or value is None):
        raise _wrong(f"`{op}` takes a numeric field and a number ({field}).")
    return Clause(field, hit["key"], op, value, bool(hit["not"]), numeric)


def _search(world: World, kind: str, params: Obj, url: str) -> Obj:
    limit = params.get("limit", 10)
    if not 1 <= limit <= 100:
        raise StripeError("Invalid limit: must be between 1 and 100", param="limit")
    fits, after = query_read(kind, params["query"]), params.get("page")
    if after is not None:
        world.get(kind, after, "page")
    found: list[Obj] = []
    for object_id in world.store.ids(kind, after=after):
        obj = world.fetch(object_id)
        if not obj.get("_deleted") and fits(obj):
            found.append(obj)
        if len(found) > limit:
            break
    more = len(found) > limit
    return {
        "object": "search_result",
        "data": found[:limit],
        "has_more": more,
        # Stripe says that this is a token to be handed back as it is.
        "next_page": found[limit - 1]["id"] if more else None,
        "url": url,
    }


def _serve(kind: str) -> None:
    path = f"/v1/{kind}s/search"

    def handler(world: World, params: Obj) -> Obj:
        return _search(world, kind, params, path)

    route("GET", path)(handler)


for _kind in FIELDS:
    _serve(_kind)
