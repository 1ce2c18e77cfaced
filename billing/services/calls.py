"""A call from inside the house (the playground), metered as the gateway meters: reserve, work, usage event, settle.

    with call_metered(tenant_id=…, project_id=…, kind="classify", model=name, tokens=upper_bound) as meter:
        result = engine…
        meter.note(input_tokens=…, machine_ms=…)

It has no key, so the limits of tenant, project, model and of the member who asks apply. Between reading the limits and
writing the usage event no transaction is open: the work may take as long as a slow engine does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import uuid
from collections.abc import Iterator

from django.db import connections

from billing.errors import CallRefused
from billing.models import UsageEvent
from billing.periods import from_ms
from billing.prices import Usage, price_books
from billing.quotas import AWAY, DEFAULT_LIFE_MS, CompiledLimits, Decision, QuotaStore, QuotaUnavailable, denial
from billing.quotas.limits import Limit
from billing.quotas.trace import Amounts, Caller, refusal_of
from billing.selectors.dunning import calls_check
from billing.selectors.limits import caller_limits
from billing.services.decisions import decisions_record
from billing.services.leases import lease_refill
from billing.services.metering import usage_record
from billing.services.stores import calling_store
from kit.clock import now
from kit.ids import new_id, public_id
from tenants.currency import paid_in
from tenants.scope import tenant_scope

REFILL_SECONDS = 2.0
TRIES = 3
"""In a burst others may take the block that was fetched for this call."""


@dataclasses.dataclass(slots=True)
class Meter:
    """What a call took; `event` is there once it is recorded."""

    request_id: str
    used: Usage
    noted: bool = False
    event: UsageEvent | None = None

    def note(self, *, input_tokens: int, machine_ms: int) -> None:
        """The work is done and took this much."""
        self.used = dataclasses.replace(self.used, input_tokens=input_tokens, machine_ms=machine_ms)
        self.noted = True


@contextlib.contextmanager
def call_metered(
    *,
    tenant_id: uuid.UUID,
    project_id: uuid.UUID,
    kind: str,
    model: str,
    tokens: int,
    member_id: uuid.UUID | None = None,
    request_id: str = "",
    store: QuotaStore | None = None,
    life_ms: int = DEFAULT_LIFE_MS,
) -> Iterator[Meter]:
    """Hold the price of `tokens` at most, let the caller work, charge what it noted. Outside any scope.

    `member_id` is the user's. CallRefused (402, 429, 503) or PaymentOverdue before anything runs; work that
    raises, or notes nothing, costs nothing. It is over within `life_ms`: after that it no longer counts as a call at
    once.
    """
    store = store or calling_store()
    request_id = request_id or public_id("req_", new_id())
    with tenant_scope(tenant_id):
        price = price_books().current(int(now().timestamp() * 1000), paid_in()).price(kind, model)
        calls_check()
        limits = caller_limits(project_id=project_id, member_id=member_id).compiled(model)
    nano = tokens * price.input_token + price.request
    decision = _admit(store, limits, request_id, Amounts(1, tokens, 0, nano), life_ms)
    if not decision.allowed:
        raise _refused(decision, Amounts(1, tokens, 0, nano), Caller(request_id, kind, model, project_id, None))
    meter = Meter(request_id, Usage(kind, model))
    try:
        yield meter
        if meter.noted:
            with tenant_scope(tenant_id):
                event = usage_record(
                    request_id=request_id,
                    usage=meter.used,
                    project_id=project_id,
                    key_id=None,
                    cost_nano=nano,
                    occurred_at=from_ms(decision.now_ms),
                )
            meter.event = event  # committed: from here on it is charged
    finally:
        for _ in range(2):  # a line that broke meanwhile is opened again by the second
            with contextlib.suppress(QuotaUnavailable):  # the sweeper finds the event, or the reservation's end
                if meter.event is None:
                    store.release(tenant_id, request_id)
                else:
                    spent = meter.event.cost_nano
                    store.settle(tenant_id, request_id, tokens=meter.used.input_tokens, nano=spent)
                break


def _refused(decision: Decision, asked: Amounts, caller: Caller) -> CallRefused:
    """The error for a refused call, with its reason kept."""
    said = denial(decision, caller.model, keyless=True)
    refusal = refusal_of(decision, asked, caller, status=said.status)
    if refusal is not None:
        decisions_record([refusal])
    return CallRefused(said)


def _admit(store: QuotaStore, limits: CompiledLimits, request_id: str, asked: Amounts, life_ms: int) -> Decision:
    for _ in range(TRIES):
        try:
            decision = store.reserve(limits, request_id, tokens=asked.tokens, nano=asked.nano, life_ms=life_ms)
        except QuotaUnavailable as error:
            raise CallRefused(AWAY) from error
        if decision.allowed:
            return decision
        if not (decision.wants_lease and all(_refilled(store, limits, limit, asked.nano) for limit in decision.low)):
            break
    return decision


def _refilled(store: QuotaStore, limits: CompiledLimits, limit: Limit, nano: int) -> bool:
    """A block of money for a budget. On a thread of its own, because the debit must commit before the block is sent,
    whatever becomes of the caller's transaction."""
    got: list[bool] = []

    def work() -> None:
        try:
            got.append(
                lease_refill(
                    store=store,
                    tenant_id=limits.tenant_id,
                    scope=limit.scope,
                    scope_id=limit.scope_id,
                    name=limit.name,
                    wanted=nano,
                )
            )
        finally:
            store.close()  # this thread's line
            connections.close_all()

    thread = threading.Thread(target=work, name="lease-refill", daemon=True)
    thread.start()
    thread.join(REFILL_SECONDS)
    return bool(got and got[0])
