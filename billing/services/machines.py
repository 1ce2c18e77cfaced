"""Counting what machines are there and what that costs us. Training and serving look; this adds up."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from django.db import connections, transaction

from billing.models import MachineHour
from billing.periods import from_ms, to_ms
from billing.prices.machines_file import HOUR_MS, machine_prices
from tenants.scope import OPS

GAP_MS = 180_000
"""Who was not seen for longer was not there: a look comes every minute, and two may be lost."""


@dataclass(frozen=True, slots=True)
class Look:
    """A machine that is there at a moment, and whether it works then. Its class is one of `CLASSES`."""

    machine: str
    machine_class: str
    busy: bool


def spans(looked: int | None, at: int) -> list[tuple[int, int]]:
    """The time since the last look as (beginning of the hour, ms in it), ms since 1970; nothing where there was no look
    before, or too long ago, or a later one."""
    if looked is None or not 0 < at - looked <= GAP_MS:
        return []
    found, start = [], looked
    while start < at:
        hour = start // HOUR_MS * HOUR_MS
        end = min(at, hour + HOUR_MS)
        found.append((hour, end - start))
        start = end
    return found


def machines_seen(looks: Iterable[Look], *, at: dt.datetime) -> int:
    """Add the time since the last look at each of these machines; how many there are. Twice, late or doubled, it counts
    every moment once; what no look vouches for is not counted."""
    found = sorted(looks, key=lambda look: look.machine)
    moment = to_ms(at)
    with transaction.atomic(using=OPS):
        with connections[OPS].cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('machine hours'))")
        last = _last([look.machine for look in found])
        for look in found:
            row = last.get(look.machine)
            looked = to_ms(row.looked_at) if row is not None else None
            if looked is not None and looked >= moment:
                continue
            for hour, ms in spans(looked, moment):
                _add(look, hour, ms, moment)
            _add(look, moment // HOUR_MS * HOUR_MS, 0, moment)
    return len(found)


def _last(machines: list[str]) -> dict[str, MachineHour]:
    rows = MachineHour.objects.filter(machine__in=machines).order_by("machine", "-hour").distinct("machine")
    return {row.machine: row for row in rows}


def _add(look: Look, hour_ms: int, ms: int, moment: int) -> None:
    prices = machine_prices(hour_ms)
    row, _new = MachineHour.objects.get_or_create(
        machine=look.machine[:160],
        hour=from_ms(hour_ms),
        defaults={
            "machine_class": look.machine_class,
            "price_version": prices.version,
            "looked_at": from_ms(moment),
        },
    )
    row.capacity_ms += ms
    row.busy_ms += ms if look.busy else 0
    row.cost_nano = row.capacity_ms * prices.ms_nano[row.machine_class]
    row.looked_at = from_ms(moment)
    row.save(update_fields=["capacity_ms", "busy_ms", "cost_nano", "looked_at"])
