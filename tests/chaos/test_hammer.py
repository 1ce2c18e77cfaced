"""As much as a machine can ask for, against small limits, while the quota server forgets everything on the way and is
killed once: nothing is admitted that a limit does not carry, and what is settled is what was answered.

`HAMMER_SECONDS` says how long; `benchmarks/hammer.py` asks for a minute.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx2
import pytest
from django.db.models import Sum

from billing.models import UsageEvent
from billing.periods import to_ms
from billing.selectors.budgets import budget_month
from tenants.scope import tenant_scope
from tests.chaos.conftest import SEED
from tests.chaos.doors import Customer, Doors, Told, customer, heard, wrong
from tests.chaos.installation import Installation

pytestmark = pytest.mark.chaos
SECONDS = float(os.environ.get("HAMMER_SECONDS", "9"))
WIDTH = 12
"""Calls at the same time, of each customer."""
REQUESTS, TOKENS, NANO = 100, 6_000, 120_000


@dataclass
class Hammered:
    """One customer, the limit he runs against, and the statuses he got."""

    limit: str
    customer: Customer
    asked: Counter[int] = field(default_factory=Counter)


@pytest.fixture
def doors(engines_to_hurt: Installation) -> Iterator[Doors]:
    """Two gateways and an engine, for customers with one small limit each."""
    made = Doors(engines_to_hurt, SEED)
    try:
        made.open()
        yield made
    finally:
        made.leave()


def hammered() -> list[Hammered]:
    """One customer for each kind of limit that is kept over a time."""
    return [
        Hammered("requests a minute", customer("often", requests_per_minute=REQUESTS)),
        Hammered("tokens a minute", customer("long", tokens_per_minute=TOKENS)),
        Hammered("spend a month", customer("spender", monthly_spend_nano=NANO)),
    ]


@pytest.mark.cut
def test_an_emptied_and_a_killed_quota_server_admit_not_one_call_too_many(
    doors: Doors, capsys: pytest.CaptureFixture[str]
) -> None:
    doors.customers.clear()
    everybody = hammered()
    doors.customers += [one.customer for one in everybody]
    asyncio.run(press(doors, everybody))
    doors.settle_up()
    rows = [row(one) for one in everybody]
    with capsys.disabled():
        print("\n" + table(rows), flush=True)  # noqa: T201 - the figures are the product here
    assert wrong(doors) == []
    assert [one["over"] for one in rows] == [0, 0, 0]
    assert all(one["refused"] and one["answered"] for one in rows), "each limit was reached"


async def press(doors: Doors, everybody: list[Hammered]) -> None:
    """Everybody asks as fast as answers come."""
    begun = time.monotonic()

    def harm() -> None:
        for share, deed in ((0.35, doors.engines.broker().flushall), (0.5, doors.engines.broker().flushall)):
            time.sleep(max(0.0, begun + share * SECONDS - time.monotonic()))
            deed()
        time.sleep(max(0.0, begun + 0.7 * SECONDS - time.monotonic()))
        doors.engines.redis_kill()
        doors.engines.redis_start()

    async with httpx2.AsyncClient(timeout=20, limits=httpx2.Limits(max_connections=None)) as client:

        async def ask(one: Hammered, number: int) -> None:
            headers = {"authorization": f"Bearer {one.customer.person.key}"}
            body = {"model": one.customer.model, "input": "a text of some words " * (number % 5 + 1)}
            while time.monotonic() - begun < SECONDS:
                told = Told("")
                url = doors.gateways[number % 2].url
                heard(told, await client.post(f"{url}/v1/classify", json=body, headers=headers))
                one.customer.calls.append(told)
                one.asked[told.status] += 1

        work = [ask(one, number) for one in everybody for number in range(WIDTH)]
        await asyncio.gather(asyncio.to_thread(harm), *work)


def row(one: Hammered) -> dict[str, int | str]:
    """What became of a customer's calls, and by how much his limit was passed at its worst moment."""
    with tenant_scope(one.customer.person.tenant.id):
        events = list(UsageEvent.objects.order_by("occurred_at").values_list("occurred_at", "input_tokens"))
        cost = int(UsageEvent.objects.aggregate(total=Sum("cost_nano"))["total"] or 0)
        month = budget_month()
    if one.limit == "spend a month":
        cap, used, over = NANO, cost, max(0, cost - NANO)
        assert month is not None and month.spent_nano == cost
    else:
        cap = REQUESTS if one.limit == "requests a minute" else TOKENS
        amounts = [(to_ms(at), 1 if cap == REQUESTS else tokens) for at, tokens in events]
        used, over = sum(amount for _, amount in amounts), -min(0, lowest(amounts, cap))
    answered = one.asked[200]
    refused = one.asked[429] + one.asked[402]
    other = one.asked.total() - answered - refused
    return {"limit": one.limit, "cap": cap, "asked": one.asked.total(), "answered": answered, "refused": refused,
            "away": other, "events": len(events), "used": used, "over": over}  # fmt: skip


def lowest(amounts: list[tuple[int, int]], cap: int) -> int:
    """The lowest level of a bucket of `cap` a minute from which all of this was taken; in whole units, rounded down."""
    level, before = cap * 60_000, amounts[0][0]
    least = level
    for at, amount in amounts:
        level = min(cap * 60_000, level + (at - before) * cap) - amount * 60_000
        least, before = min(least, level), at
    return least // 60_000


def table(rows: list[dict[str, int | str]]) -> str:
    """All rows under their names."""
    names = list(rows[0])
    lines = [f"{'limit':20}" + "".join(f"{name:>11}" for name in names[1:])]
    lines += [f"{one['limit']:20}" + "".join(f"{one[name]:>11,}" for name in names[1:]) for one in rows]
    return "\n".join(lines)
