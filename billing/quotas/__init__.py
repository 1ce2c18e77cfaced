"""Quotas: RESERVE -> EXTEND* -> SETTLE | RELEASE | EXPIRE. No Django.

One Lua call checks a flat list of limits of all scopes (tenant, wallet, project, member, key, model) and writes only
if all pass: requests and tokens per minute (input and output, together and apart), concurrency, and money. Money is
spent out of a lease that Postgres debited before it became spendable, so a Redis that forgets, restarts from an old
snapshot or fails over can refuse too much for a while but can never admit more than was leased.

- `gate.QuotaGate`        the gateway's door: admit, settle, release, with metering
- `store.QuotaStore`      the same verbs, blocking, for workers, the sweeper and lease keeping
- `compile.limits_for`    from plan, overrides, project and key limits to `CompiledLimits`
- `recount`               tells a quota server that lost what it knew the calls that run
- `trace`                 why calls were refused: noted beside the answer, written behind it
- jobs (training) hold money in Postgres instead: `billing.services.jobs`
"""

from billing.quotas.compile import LimitSet, limits_for
from billing.quotas.decision import Decision, rate_headers
from billing.quotas.denial import AWAY, Denial, denial
from billing.quotas.errors import LimitError, QuotaProtocolError, QuotaUnavailable
from billing.quotas.gate import QuotaGate, Ticket
from billing.quotas.limits import CompiledLimits, Limit
from billing.quotas.store import DEFAULT_LIFE_MS, LONGEST_LIFE_MS, AsyncQuotaStore, QuotaStore

__all__ = [
    "AWAY",
    "DEFAULT_LIFE_MS",
    "LONGEST_LIFE_MS",
    "AsyncQuotaStore",
    "CompiledLimits",
    "Decision",
    "Denial",
    "Limit",
    "LimitError",
    "LimitSet",
    "QuotaGate",
    "QuotaProtocolError",
    "QuotaStore",
    "QuotaUnavailable",
    "Ticket",
    "denial",
    "limits_for",
    "rate_headers",
]
