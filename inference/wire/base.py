"""What all messages share, and those of a connection itself."""

from __future__ import annotations

import msgspec


class Message(msgspec.Struct, tag_field="type", frozen=True, gc=False):
    """Base of all messages."""


class Hello(Message, tag="hello", frozen=True, gc=False):
    """Opens a connection. `token` is the secret both sides were started with."""

    version: int
    token: str


class Welcome(Message, tag="welcome", frozen=True, gc=False):
    """The engine accepts the connection."""

    version: int
    backend: str


class Cancel(Message, tag="cancel", frozen=True, gc=False):
    """Give up on request `id` of this connection. Has no answer of its own."""

    id: int


class Failed(Message, tag="failed", frozen=True, gc=False):
    """The request `id` failed; `retry_after` in seconds, None if trying again cannot help."""

    id: int
    code: str
    message: str
    retry_after: float | None = None


class Leaving(Message, tag="leaving", frozen=True, gc=False):
    """The engine takes nothing new from now on and finishes what it has. The caller closes when it has its answers."""


class Leave(Message, tag="leave", frozen=True, gc=False):
    """Finish what was taken, take nothing new, and end; answered by `done` at once."""

    id: int


class Join(Message, tag="join", frozen=True, gc=False):
    """Serve this pool from now on; answered by `done`. Who waits warm joins the deployment that takes it."""

    id: int
    pool: str
