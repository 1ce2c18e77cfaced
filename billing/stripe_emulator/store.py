"""The emulator's memory: one SQLite file, one writer.

A request is one transaction, so a process killed in the middle of it leaves
nothing half done; what was answered was committed before (WAL).
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Obj = dict[str, Any]
CLOCK = "test_helpers.test_clock"
ABSENT = object()
"""In a `where`: the field is null."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, due INTEGER,
    body TEXT NOT NULL, clock TEXT);
CREATE INDEX IF NOT EXISTS objects_kind ON objects (kind, seq);
CREATE INDEX IF NOT EXISTS objects_customer ON objects (kind, json_extract(body, '$.customer'));
CREATE INDEX IF NOT EXISTS objects_due ON objects (due) WHERE due IS NOT NULL;
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL, endpoint TEXT NOT NULL, state TEXT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL, answer TEXT);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (state, due);
CREATE INDEX IF NOT EXISTS deliveries_event ON deliveries (event);
CREATE INDEX IF NOT EXISTS objects_subject ON objects (kind, json_extract(body, '$.data.object.id'));
CREATE INDEX IF NOT EXISTS objects_readings ON objects (
    json_extract(body, '$._meter'), json_extract(body, '$._customer'), json_extract(body, '$.timestamp'))
    WHERE kind = 'billing.meter_event';
CREATE INDEX IF NOT EXISTS objects_identifier ON objects (json_extract(body, '$.identifier'))
    WHERE kind = 'billing.meter_event';
CREATE TABLE IF NOT EXISTS idempotency (
    name TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL, at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS idempotency_at ON idempotency (at);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Delivery:
    """One try-until-it-works of one event to one endpoint. `due` is wall-clock seconds."""

    id: int
    event: str
    endpoint: str
    state: str
    attempt: int
    due: float


class Store:
    """Objects as JSON by id, deliveries, idempotent answers and a few settings."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        if "clock" not in {row[1] for row in self._db.execute("PRAGMA table_info(objects)")}:
            # A file from before there were test clocks.
            self._db.execute("ALTER TABLE objects ADD COLUMN clock TEXT")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside commit together, or none when the block raises."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        """Inside a transaction: the writes of this block go when it raises, those before it stay."""
        self._db.execute("SAVEPOINT part")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK TO part")
            self._db.execute("RELEASE part")
            raise
        self._db.execute("RELEASE part")

    # Objects

    def get(self, object_id: str) -> Obj | None:
        """The object of this id, of whatever kind."""
        row = self._db.execute("SELECT body FROM objects WHERE id = ?", (object_id,)).fetchone()
        return json.loads(row[0]) if row else None

    def put(self, obj: Obj, due: int | None, clock: str | None = None) -> None:
        """Insert or replace; the order of first insertion stays. `clock` is the test clock in whose time it lives."""
        self._db.execute(
            "INSERT INTO objects (id, kind, due, body, clock) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET due = excluded.due, body = excluded.body, clock = excluded.clock",
            (obj["id"], obj["object"], due, json.dumps(obj), clock),
        )

    def drop(self, object_id: str) -> None:
        """Forget an object."""
        self._db.execute("DELETE FROM objects WHERE id = ?", (object_id,))

    def ids(
        self,
        kind: str,
        where: dict[str, Any] | None = None,
        *,
        after: str | None = None,
        before: str | None = None,
        limit: int | None = None,
    ) -> list[str]:
        """Ids newest first. `where` maps JSON paths to a value, a list of values to choose from,
        or a list of (comparison, bound) that must all hold;
        `after` and `before` are ids of the neighbouring pages."""
        sql, args = ["SELECT id FROM objects WHERE kind = ?"], [kind]
        for path, value in (where or {}).items():
            clause, values = _clause(path, value)
            sql.append(clause)
            args += values
        for edge, sign in ((after, "<"), (before, ">")):
            if edge is not None:
                sql.append(f"AND seq {sign} (SELECT seq FROM objects WHERE id = ?)")
                args.append(edge)
        sql.append("ORDER BY seq " + ("ASC" if before is not None else "DESC"))
        if limit is not None:
            sql.append(f"LIMIT {int(limit)}")
        found = [row[0] for row in self._db.execute(" ".join(sql), args)]
        return found[::-1] if before is not None else found

    def next_due(self, until: int, clock: str | None = None) -> tuple[str, int] | None:
        """The id and moment of the object of this clock that must move first, at `until` or before."""
        return self._db.execute(
            "SELECT id, due FROM objects WHERE due <= ? AND clock IS ? ORDER BY due, seq LIMIT 1", (until, clock)
        ).fetchone()

    def clocks_of(self, ids: list[str]) -> set[str]:
        """The test clocks in whose time objects of these ids live; a clock lives in its own."""
        if not ids or self._db.execute("SELECT 1 FROM objects WHERE kind = ? LIMIT 1", (CLOCK,)).fetchone() is None:
            return set()
        found: set[str] = set()
        for start in range(0, len(ids), 500):
            some = ids[start : start + 500]
            rows = self._db.execute(
                f"SELECT id, kind, clock FROM objects WHERE id IN ({', '.join('?' * len(some))})", some
            )
            found |= {object_id if kind == CLOCK else clock for object_id, kind, clock in rows} - {None}
        return found

    def undue(self, object_id: str) -> None:
        """Let an object wait for nothing any more."""
        self._db.execute("UPDATE objects SET due = NULL WHERE id = ?", (object_id,))

    def readings(self, meter: str, customer: str, start: int, end: int) -> list[tuple[int, int]]:
        """(moment, value) of a meter's events for a customer in [start, end), by moment, then as they came."""
        return self._db.execute(
            "SELECT json_extract(body, '$.timestamp') AS at, json_extract(body, '$._value') FROM objects "
            "WHERE kind = 'billing.meter_event' AND json_extract(body, '$._meter') = ? "
            "AND json_extract(body, '$._customer') = ? AND at >= ? AND at < ? ORDER BY at, seq",
            (meter, customer, start, end),
        ).fetchall()

    # Settings

    def setting(self, name: str, default: Any = None) -> Any:
        """A stored value, or the default."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else default

    def setting_put(self, name: str, value: Any) -> None:
        """Store a JSON value under a name."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, json.dumps(value)))

    # Idempotency

    def answer_of(self, name: str) -> tuple[str, int, str] | None:
        """(fingerprint, status, body) stored under an idempotency key."""
        return self._db.execute("SELECT fingerprint, status, body FROM idempotency WHERE name = ?", (name,)).fetchone()

    def answer_put(self, name: str, fingerprint: str, status: int, body: str, at: float) -> None:
        """Remember an answer for a day; older ones go."""
        self._db.execute("DELETE FROM idempotency WHERE at < ?", (at - 86400,))
        self._db.execute(
            "INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?, ?, ?)", (name, fingerprint, status, body, at)
        )

    # Deliveries

    def delivery_add(self, event: str, endpoint: str, state: str, due: float) -> None:
        """Queue an event for an endpoint; state `pending` or `held`."""
        self._db.execute(
            "INSERT INTO deliveries (event, endpoint, state, due) VALUES (?, ?, ?, ?)", (event, endpoint, state, due)
        )

    def deliveries(self, state: str, until: float | None = None) -> list[Delivery]:
        """Deliveries of a state, due first."""
        rows = self._db.execute(
            "SELECT id, event, endpoint, state, attempt, due FROM deliveries "
            "WHERE state = ? AND due <= ? ORDER BY due, id LIMIT 500",
            (state, until if until is not None else 1e18),
        )
        return [Delivery(*row) for row in rows]

    def deliveries_of(self, event: str) -> list[tuple[str, int, str]]:
        """(state, tries, last answer) of an event's deliveries, oldest first."""
        rows = self._db.execute("SELECT state, attempt, answer FROM deliveries WHERE event = ? ORDER BY id", (event,))
        return [(state, attempt, answer or "") for state, attempt, answer in rows]

    def delivery_move(self, delivery_id: int, state: str, *, attempt: int, due: float, answer: str = "") -> None:
        """Note the outcome of a try."""
        self._db.execute(
            "UPDATE deliveries SET state = ?, attempt = ?, due = ?, answer = ? WHERE id = ?",
            (state, attempt, due, answer, delivery_id),
        )

    def counts(self) -> dict[str, dict[str, int]]:
        """How many objects of each kind and deliveries of each state there are."""
        objects = dict(self._db.execute("SELECT kind, count(*) FROM objects GROUP BY kind").fetchall())
        sent = dict(self._db.execute("SELECT state, count(*) FROM deliveries GROUP BY state").fetchall())
        return {"objects": objects, "deliveries": sent}


def _clause(path: str, value: Any) -> tuple[str, list[Any]]:
    field = f"json_extract(body, '$.{path}')"
    if value is ABSENT:
        return f"AND {field} IS NULL", []
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        return " ".join(f"AND {field} {sign} ?" for sign, _ in value), [bound for _, bound in value]
    if isinstance(value, list):
        return f"AND {field} IN ({', '.join('?' * len(value))})", [_plain(v) for v in value]
    return f"AND {field} = ?", [_plain(value)]


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value
