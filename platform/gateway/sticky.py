"""Who calls, as far as a rollout wants to know: the same caller stays on the same side."""

from __future__ import annotations

from gateway.wire import Scope, header

FIELDS = ("user", "safety_identifier", "prompt_cache_key")
"""Of the bodies; the first that is there and holds something."""
HEADER = b"x-sticky-key"
LONGEST = 512


def caller_of(body: object, scope: Scope) -> str:
    """The field of the body, else the header; empty where neither is sent, and every call is a caller of its own."""
    for name in FIELDS:
        found = getattr(body, name, None)
        if found:
            return str(found)
    return (header(scope, HEADER) or b"")[:LONGEST].decode("latin-1")
