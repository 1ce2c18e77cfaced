"""Gateways and an engine to be hurt, customers who call all the while, and what their bills must say afterwards.

A customer writes down of every call what became of it: answered to the last byte, refused, left, or never told. The
rules are those of the bill:

- a call that was answered has one event, for what the answer says
- one that was refused, or failed before its first token, has none
- a stream that broke or was left has one at most, for no less than what its reader saw
- the counters of the quota server, the sums and the ledger all say the sum of the events
- no spend limit is overshot
"""

import asyncio
import contextlib
import json
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from django.conf import settings
from django.db import connections
from django.db.models import Sum

from billing.metering.spool import read_events
from billing.models import Budget, BudgetLease, UsageDispute, UsageEvent
from billing.periods import from_ms
from billing.quotas import QuotaStore
from billing.selectors.invariants import findings
from billing.services.entitlements import override_set
from billing.services.ledger import lines_post_all
from billing.services.metering import usage_rollup_all
from billing.services.reservations import reservations_sweep
from config import embedded
from tenants.scope import tenant_scope
from tests.chaos.fleet import chaos
from tests.chaos.host import Host
from tests.chaos.installation import Installation
from tests.chaos.proxy import NONE
from tests.conftest import Person
from tests.console.things import made_deployment
from tests.gateway.conftest import free_port
from tests.gateway.writing_engine import CHAT, WRITER, on_plan
from tests.training.background import until

LIFE_MS = 3000
CAP = 1_200_000
"""Nano-USD that the customer with little money may spend: a dozen long answers."""
PATIENCE = 20.0
AFTERWARDS = 1.5
"""Seconds of calls after the harm is over."""
FULL, LEFT, REFUSED, BROKEN, UNTOLD = "answered", "left", "refused", "broke off", "never told"


@dataclass(slots=True)
class Told:
    """What a customer knows of one call."""

    what: str
    request_id: str = ""
    status: int = 0
    tokens: int = 0
    """Of the answer: all of them where it was answered, else those that were seen."""
    written: bool = False
    """Whether it was a text."""


@dataclass(slots=True)
class Customer:
    """Somebody who calls, and remembers."""

    person: Person
    model: str
    cap: int | None = None
    calls: list[Told] = field(default_factory=list)


class Gateway(Host):
    """One gateway process, behind lines of its own to PostgreSQL and Redis. All write their usage into one folder, as
    replicas on one volume do: who lives ships what the dead have left."""

    def __init__(self, home: Path, name: str, *, seed: int) -> None:
        super().__init__(home, name, seed=seed)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.spool = home / "chaos" / "usage"

    def environment(self) -> dict[str, str]:
        """The line to the engine is its own as well; the engine is this installation's."""
        more = {"ENGINE_ADDRESS": f"unix://{engine_socket(self.home)}", "USAGE_WAL_DIR": str(self.spool)}
        return super().environment() | more

    def begin(self, **changes: Any) -> None:
        """Start it."""
        words = ("tests.chaos.gateway:application", "--port", str(self.port), "--http", "kit.server:PatientHttp")
        self.run("uvicorn", *words, "--log-level", "warning", "--no-access-log", CHAOS=chaos(life=LIFE_MS, **changes))

    def open(self, **changes: Any) -> None:
        """Start it, until it answers."""
        self.begin(**changes)
        until(self.answers, 60)

    def answers(self) -> bool:
        """Whether it is there."""
        assert self.runs, self.last_words()
        with contextlib.suppress(httpx2.HTTPError):
            return httpx2.get(f"{self.url}/healthz", timeout=2).status_code == 200
        return False

    def heal(self) -> None:
        """No fault, and alive without a moment to die at, or about to be."""
        for proxy in (self.postgres, self.redis):
            proxy.fault = NONE
        self.signal(signal.SIGCONT, group=True)
        if self.runs and "dies" in self.changed.get("CHAOS", ""):
            self.kill()
        if not self.runs:
            self.begin()


def engine_socket(home: Path) -> Path:
    """Where the writing engine of these tests listens."""
    return embedded.run_dir(home) / "writer.sock"


class Engine(Host):
    """The writing engine as a process."""

    def __init__(self, home: Path) -> None:
        super().__init__(home, "writer", seed=0)

    def open(self) -> None:
        """Until it listens."""
        path = engine_socket(self.home)
        path.unlink(missing_ok=True)
        self.run("tests.chaos.writer", str(path))
        until(lambda: path.exists() and self.runs, 30)


class Doors:
    """Two gateways, an engine, customers; on engines of the run that may be hurt as well."""

    def __init__(self, engines: Installation, seed: int) -> None:
        self.engines, self.home, self.dice = engines, engines.home, random.Random(seed)
        self.engine = Engine(self.home)
        self.gateways = [Gateway(self.home, f"gateway{number}", seed=seed + number) for number in range(2)]
        self.customers: list[Customer] = []

    def open(self) -> None:
        """Everything runs, for customers nobody has seen before."""
        self.engines.heal()
        self.customers = [customer("rich"), customer("poor", monthly_spend_nano=CAP)]
        self._heal()

    def _heal(self) -> None:
        if not self.engine.runs:
            self.engine.open()
        for gateway in self.gateways:  # they start side by side
            gateway.heal()
        for gateway in self.gateways:
            until(gateway.answers, 60)

    def leave(self) -> None:
        """Nothing is left running."""
        for host in (*self.gateways, self.engine):
            host.leave()

    # ── Calls ──

    def calling(self, seconds: float, *, harm: Any = None, width: int = 8) -> None:
        """All customers call for so long, while the function `harm` runs in a thread, and for a moment after it."""
        asyncio.run(self._calling(seconds, harm, width))

    async def _calling(self, seconds: float, harm: Any, width: int) -> None:
        begun, over = time.monotonic(), asyncio.Event()

        async def rule() -> None:
            if harm is not None:
                await asyncio.to_thread(harm)
            await asyncio.sleep(max(AFTERWARDS, begun + seconds - time.monotonic()))
            over.set()

        async with httpx2.AsyncClient(timeout=PATIENCE, limits=httpx2.Limits(max_connections=None)) as client:

            async def one(number: int) -> None:
                dice = random.Random(self.dice.random())
                while not over.is_set():
                    someone = self.customers[number % len(self.customers)]
                    told = await _call(client, dice.choice(self.gateways).url, someone, dice)
                    someone.calls.append(told)
                    if told.what in (UNTOLD, REFUSED):
                        await asyncio.sleep(0.05)

            work = [asyncio.ensure_future(one(number)) for number in range(width)]
            try:
                await rule()
            finally:
                over.set()
                await asyncio.gather(*work)

    # ── Afterwards ──

    def settle_up(self) -> None:
        """Heal everything and wait until nothing is under way: files shipped, reservations ended, sums made."""
        self.engines.heal()
        for connection in connections.all(initialized_only=True):
            connection.close()  # the database may have gone meanwhile
        self._heal()
        until(lambda: not self.unshipped(), 60)
        store = QuotaStore(settings.REDIS_URL)

        def ended() -> bool:
            reservations_sweep(store=store)
            return not set(store.tenants()) & {one.person.tenant.id.hex for one in self.customers}

        until(ended, 30)
        store.close()
        usage_rollup_all()
        lines_post_all()

    def unshipped(self) -> set[Any]:
        """Events of the customers that stand in files and not in the database."""
        written = set()
        tenants = {one.person.tenant.id for one in self.customers}
        for path in self.gateways[0].spool.glob("usage-*.wal"):
            with contextlib.suppress(FileNotFoundError):
                written |= {event.event_id for event, _ in read_events(path) if event.tenant_id in tenants}
        for one in self.customers:
            with tenant_scope(one.person.tenant.id):
                written -= set(UsageEvent.objects.filter(pk__in=written).values_list("pk", flat=True))
        return written


def customer(name: str, **limits: int) -> Customer:
    """Somebody with wide limits but for those that are named."""
    person = on_plan(name)
    wide = {"requests_per_minute": 10**6, "tokens_per_minute": 10**8, "concurrency": 200}
    with tenant_scope(person.tenant.id):
        override_set(limits=wide | limits, reason="a test of faults", created_by="test")
    return Customer(person, made_deployment(person).model.name, limits.get("monthly_spend_nano"))


async def _call(client: httpx2.AsyncClient, url: str, someone: Customer, dice: random.Random) -> Told:
    headers = {"authorization": f"Bearer {someone.person.key}"}
    told = Told(UNTOLD)
    with contextlib.suppress(httpx2.HTTPError):
        if dice.random() < 0.5:
            body: dict[str, Any] = {"model": someone.model, "input": "a text " * dice.randint(1, 9)}
            heard(told, await client.post(f"{url}/v1/classify", json=body, headers=headers))
            return told
        told.written = True
        body = {"model": WRITER, "messages": [{"role": "user", "content": "go on"}], "max_tokens": dice.randint(1, 600)}
        if dice.random() < 0.3:
            heard(told, await client.post(url + CHAT, json=body, headers=headers))
            return told
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        leave_after = dice.choice([None, None, dice.randint(1, 200)])
        async with client.stream("POST", url + CHAT, json=body, headers=headers) as answer:
            await _read(told, answer, leave_after)
    return told


def heard(told: Told, answer: httpx2.Response) -> None:
    told.request_id, told.status = answer.headers.get("x-request-id", ""), answer.status_code
    told.what = FULL if answer.status_code == 200 else REFUSED
    if told.what == FULL:
        usage = answer.json()["usage"]
        told.tokens = usage["completion_tokens"] if told.written else usage["input_tokens"]


async def _read(told: Told, answer: httpx2.Response, leave_after: int | None) -> None:
    told.request_id, told.status = answer.headers.get("x-request-id", ""), answer.status_code
    if answer.status_code != 200:
        told.what = REFUSED
        return
    told.what = BROKEN
    async for line in answer.aiter_lines():
        if line == "data: [DONE]":
            told.what = FULL
        elif line.startswith("data: "):
            chunk = json.loads(line[6:])
            if chunk.get("usage"):
                told.tokens = chunk["usage"]["completion_tokens"]
            elif chunk.get("choices"):
                told.tokens += bool(chunk["choices"][0]["delta"].get("content"))
        if leave_after is not None and told.tokens >= leave_after and told.what == BROKEN:
            told.what = LEFT
            return


def wrong(doors: Doors) -> list[str]:
    """Every rule that a bill breaks, in words."""
    found = []
    for one in doors.customers:
        with tenant_scope(one.person.tenant.id):
            found += _bill(one)
    found += [f"{one.check}: {one.message}" for one in findings([one.person.tenant.id for one in doors.customers])]
    return found


def _bill(one: Customer) -> list[str]:
    events = Counter(UsageEvent.objects.values_list("request_id", flat=True))
    rows = {event.request_id: event for event in UsageEvent.objects.all()}
    found = [f"{name} is charged {count} times" for name, count in events.items() if count > 1]
    for call in one.calls:
        event = rows.get(call.request_id)
        if call.what == FULL:
            tokens = None if event is None else event.output_tokens if call.written else event.input_tokens
            found += [] if tokens == call.tokens else [f"{call} was answered and is charged as {tokens}"]
        elif call.what == REFUSED:
            found += [] if event is None else [f"{call} is charged {event.cost_nano} nano"]
        elif event is not None and event.output_tokens < call.tokens:
            found.append(f"{call} is charged for {event.output_tokens} tokens, and more were read")
    names = {call.request_id for call in one.calls}
    strangers = [name for name in rows if name not in names]
    untold = sum(call.what == UNTOLD for call in one.calls)
    if len(strangers) > untold:
        found.append(f"{len(strangers)} events of calls that nobody made; {untold} calls were never told anything")
    return found + _counters(one)


def _counters(one: Customer) -> list[str]:
    """The quota server's sums: what it says was used is what events cost, and what nobody could tell was held."""
    tenant_id = one.person.tenant.id
    spent = int(UsageEvent.objects.aggregate(total=Sum("cost_nano"))["total"] or 0)
    found = [] if one.cap is None or spent <= one.cap else [f"{spent} nano were spent of {one.cap}"]
    store = QuotaStore(settings.REDIS_URL)
    for budget in Budget.objects.all():
        lease = BudgetLease.objects.filter(budget=budget, state=BudgetLease.State.OPEN).first()
        state, _ = store.lease_state(tenant_id, budget.name)
        if lease is None or state is None or state.epoch != lease.epoch:
            continue
        doubt = int(UsageDispute.objects.aggregate(total=Sum("nano"))["total"] or 0)
        carried = UsageEvent.objects.filter(occurred_at__gte=from_ms(lease.opened_ms))
        cost = int(carried.aggregate(total=Sum("cost_nano"))["total"] or 0)
        if state.held or not cost <= state.used <= cost + doubt:
            found.append(f"{state} beside events of {cost} nano and {doubt} in doubt")
    store.close()
    return found
