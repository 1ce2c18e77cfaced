"""The world the nouns live in: one store, one clock, one log of events.

Inside a transaction every object exists once: two look-ups of one id give the
same dict, so a listener that changes it is seen by its caller.
"""

from __future__ import annotations

import contextlib
import copy
import secrets
import string
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from stripe._api_version import _ApiVersion

from billing.stripe_emulator.contract.shapes import skeleton
from billing.stripe_emulator.errors import StripeError, no_such
from billing.stripe_emulator.registry import LISTENERS, TIMERS
from billing.stripe_emulator.store import Obj, Store

API_VERSION = _ApiVersion.CURRENT
_ALPHABET = string.ascii_letters + string.digits
MAX_WAKES = 20_000
LINES_INLINE = 10
_OWNERS = ("customer", "charge", "invoice", "payment_intent", "subscription")
DELAY = 5
"""Seconds that the mode `delay` keeps an event back."""
NAMELESS = ("billing.meter_event", "billing.meter_event_adjustment", "v2.billing.meter_event")
"""Kinds that have no id in an answer."""


class DryRun(Exception):
    """Carries the answer of a preview out of its transaction, which is undone."""

    def __init__(self, answer: Obj) -> None:
        super().__init__("preview")
        self.answer = answer


@dataclass(frozen=True)
class Request:
    """What the log notes about the call that caused an event."""

    id: str | None = None
    idempotency_key: str | None = None


class World:
    """Objects with identity inside a transaction, events, and time."""

    def __init__(self, store: Store, public_url: str) -> None:
        self.store = store
        self.public_url = public_url.rstrip("/")
        self.request = Request()
        self._live: dict[str, Obj] = {}
        self._saved: dict[str, Obj] = {}
        self._moment: int | None = None
        # The wall clock when the transaction began: however long it takes, what it writes is of one moment.
        self._began: int | None = None
        # The test clock in whose time the present call, page or timer is.
        self._clock: str | None = None
        # Small writes that must survive when the transaction is undone.
        self.on_abort: list[Callable[[], None]] = []

    # Transactions

    @contextlib.contextmanager
    def transaction(self, request: Request | None = None) -> Iterator[None]:
        """One unit of work. Errors undo it, save those that say `keep` (a refused card)."""
        self.request = request or Request()
        self._forget()
        self._began = int(time.time())
        refusal: StripeError | None = None
        try:
            with self.store.transaction():
                try:
                    yield
                except StripeError as error:
                    if not error.keep:
                        raise
                    refusal = error
        except BaseException:
            with self.store.transaction():
                for again in self.on_abort:
                    again()
            raise
        finally:
            self._forget()
            self.on_abort.clear()
            self.request = Request()
            self._began = None
        if refusal is not None:
            raise refusal

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        """A part of a transaction that goes when it raises. What was fetched before must be fetched again then."""
        try:
            with self.store.savepoint():
                yield
        except BaseException:
            self._forget()
            raise

    def _forget(self) -> None:
        self._live.clear()
        self._saved.clear()

    # Time

    @property
    def now(self) -> int:
        """Seconds since the epoch: by the test clock of whom this is about, else by the emulator's clock."""
        if self._moment is not None:
            return self._moment
        clock = self.store.get(self._clock) if self._clock else None
        if clock is not None:
            return int(clock["frozen_time"])
        return self._wall() + int(self.store.setting("clock_offset", 0))

    def _wall(self) -> int:
        return int(time.time()) if self._began is None else self._began

    def advance_to(self, target: int) -> int:
        """Move the clock forward and let everything happen on the way, in order. Returns how much happened."""
        if target < self.now:
            raise StripeError("The clock only moves forward.", param="to")
        woken = self.wake_due(target)
        with self.store.transaction():
            self._set_clock(target)
        return woken

    @contextlib.contextmanager
    def in_time_of(self, ids: list[str]) -> Iterator[None]:
        """Live in the time of the test clock that these objects belong to, if they do. Raises when they have two."""
        clocks = self.store.clocks_of(ids)
        if len(clocks) > 1:
            raise StripeError(f"These objects belong to different test clocks: {', '.join(sorted(clocks))}.")
        before, self._clock = self._clock, next(iter(clocks), None)
        try:
            yield
        finally:
            self._clock = before

    def wake_due(self, until: int | None = None, clock: str | None = None) -> int:
        """Wake every object of a test clock, or of none, whose moment has come. Each is a transaction of its own."""
        limit, woken = (self.now if until is None else until), 0
        while (found := self.store.next_due(limit, clock)) is not None:
            object_id, due = found
            woken += 1
            if woken > MAX_WAKES:
                raise RuntimeError(f"{object_id} keeps waking; its timer does not move on")
            try:
                self._wake(object_id, due, clock, move_clock=until is not None and clock is None)
            except Exception:
                # It would be first in line for ever: take it out, so that the others move on.
                with self.store.transaction():
                    self.store.undue(object_id)
                raise
        return woken

    def _wake(self, object_id: str, due: int, clock: str | None, *, move_clock: bool) -> None:
        with self.transaction():
            if move_clock and due > self.now:
                self._set_clock(due)
            self._moment, self._clock = due, clock
            try:
                obj = self.fetch(object_id)
                TIMERS[obj["object"]][1](self, obj)
            finally:
                self._moment = self._clock = None

    def _set_clock(self, moment: int) -> None:
        self.store.setting_put("clock_offset", moment - self._wall())

    @contextlib.contextmanager
    def at(self, moment: int) -> Iterator[None]:
        """Pretend that it is another moment, for previews."""
        before, self._moment = self._moment, moment
        try:
            yield
        finally:
            self._moment = before

    # Objects

    def new(self, kind: str, prefix: str, **fields: Any) -> Obj:
        """A fresh object of a kind with an id, not stored yet."""
        obj = skeleton(kind)
        obj["id"] = new_id(prefix)
        if "created" in obj:
            obj["created"] = self.now
        if "test_clock" in obj:
            obj["test_clock"] = self._clock
        unknown = [name for name in fields if not name.startswith("_") and name not in obj]
        if unknown:
            raise KeyError(f"{kind} has no field {unknown}")
        obj.update(fields)
        return obj

    def fetch(self, object_id: str) -> Obj:
        """The object of this id; raises KeyError when there is none."""
        if object_id not in self._live:
            body = self.store.get(object_id)
            if body is None:
                raise KeyError(object_id)
            self._live[object_id] = body
            self._saved[object_id] = copy.deepcopy(body)
        return self._live[object_id]

    def get(self, kind: str, object_id: Any, param: str | None = None) -> Obj:
        """The object of this kind and id, or Stripe's "No such ..." (404 for a path, 400 for a parameter)."""
        label = kind.replace("checkout.", "checkout ").replace("_", "")
        try:
            obj = self.fetch(str(object_id))
        except KeyError:
            obj = {}
        if obj.get("object") != kind:
            raise no_such(label, str(object_id)[:80], param or "id", 400 if param else 404)
        return obj

    def maybe(self, object_id: str | None) -> Obj | None:
        """The object, or None."""
        if not object_id:
            return None
        try:
            return self.fetch(object_id)
        except KeyError:
            return None

    def find(self, kind: str, **where: Any) -> list[Obj]:
        """Objects whose fields equal these (`a__b` for a nested one), newest first."""
        paths = {name.replace("__", "."): value for name, value in where.items()}
        return [self.fetch(object_id) for object_id in self.store.ids(kind, paths)]

    def save(self, obj: Obj, event: str | None = None) -> Obj:
        """Store an object; with `event` also log it (an `*.updated` only when something changed)."""
        before = self._saved.get(obj["id"])
        kind = obj["object"]
        due = TIMERS[kind][0](obj) if kind in TIMERS else None
        self.store.put(obj, due, self._clock_of(obj))
        self._live[obj["id"]] = obj
        self._saved[obj["id"]] = copy.deepcopy(obj)
        if event is not None:
            changes = _changes(before, obj) if before is not None else None
            if not event.endswith(".updated") or changes:
                self.emit(event, obj, changes if event.endswith(".updated") else None)
        return obj

    def _clock_of(self, obj: Obj) -> str | None:
        """The test clock of an object: its own note of it, or that of whom or what it belongs to."""
        if "test_clock" in obj:
            clock: str | None = obj["test_clock"]
            return clock
        if obj["object"] in ("event", "promotion_code"):
            return None
        owners = [obj[name] for name in _OWNERS if isinstance(obj.get(name), str)]
        return next(iter(self.store.clocks_of(owners)), None)

    def drop(self, obj: Obj, event: str | None = None) -> None:
        """Delete an object."""
        self.store.drop(obj["id"])
        self._live.pop(obj["id"], None)
        self._saved.pop(obj["id"], None)
        if event is not None:
            self.emit(event, obj)

    # Events

    def emit(self, event_type: str, obj: Obj, previous: Obj | None = None) -> None:
        """Log an event, queue its deliveries, and tell the other nouns."""
        event = self.new(
            "event",
            "evt",
            type=event_type,
            api_version=API_VERSION,
            data={"object": public(obj)},
            request={"id": self.request.id, "idempotency_key": self.request.idempotency_key},
        )
        event.pop("account")
        event.pop("context")
        if previous is not None:
            event["data"]["previous_attributes"] = previous
        endpoints = [e for e in self.find("webhook_endpoint", status="enabled") if _wants(e, event_type)]
        event["pending_webhooks"] = len(endpoints)
        self.save(event)
        for endpoint in endpoints:
            self.deliver(event, endpoint)
        for listener in LISTENERS[event_type]:
            listener(self, obj)

    def deliver(self, event: Obj, endpoint: Obj) -> None:
        """Queue an event for an endpoint, as the mode says: now, later, or when it is released."""
        mode = self.store.setting("deliveries_mode", "normal")
        due = time.time() + (DELAY if mode == "delay" else 0)
        self.store.delivery_add(event["id"], endpoint["id"], "held" if mode == "hold" else "pending", due)


def new_id(prefix: str, length: int = 24) -> str:
    """`prefix_` and random letters and digits."""
    return f"{prefix}_" + "".join(secrets.choice(_ALPHABET) for _ in range(length))


def public(obj: Obj) -> Obj:
    """A copy without the emulator's own notes (names that start with an underscore); of an invoice's lines, the first
    ten, as Stripe gives them."""
    shown = copy.deepcopy({name: value for name, value in obj.items() if not name.startswith("_")})
    if shown.get("object") in ("subscription", "subscription_item"):
        for item in shown["items"]["data"] if shown["object"] == "subscription" else [shown]:
            # What is metered has no quantity.
            if item.get("price") and item["price"]["recurring"]["usage_type"] == "metered":
                item.pop("quantity", None)
    if shown.get("object") in NAMELESS:
        shown.pop("id", None)
    lines = shown.get("lines", {}).get("data", []) if shown.get("object") == "invoice" else []
    if len(lines) > LINES_INLINE:
        shown["lines"] = {**shown["lines"], "data": lines[:LINES_INLINE], "has_more": True}
    return shown


def _changes(before: Obj, after: Obj) -> Obj:
    """The former values of the top-level fields that changed."""
    return {name: value for name, value in public(before).items() if name in after and after[name] != value}


def _wants(endpoint: Obj, event_type: str) -> bool:
    return "*" in endpoint["enabled_events"] or event_type in endpoint["enabled_events"]
