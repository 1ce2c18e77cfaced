"""What a refused client is told: which limit, whose, how long, what to do. 429 for rates, 402 for money."""

from __future__ import annotations

import dataclasses

from billing.quotas.decision import Decision, duration, rate_headers
from billing.quotas.limits import Limit
from billing.quotas.scripts import SLOWED
from kit.money import written


@dataclasses.dataclass(frozen=True, slots=True)
class Denial:
    """A refusal on the wire: status, the four keys of the error body, and headers."""

    status: int
    type: str
    code: str
    message: str
    headers: tuple[tuple[bytes, bytes], ...]


WHAT = {
    "requests": "requests",
    "tokens": "tokens",
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
}
"""How a message says the kind of a rate."""
_WHOSE = {
    "tenant": "your organization",
    "wallet": "your organization",
    "project": "your project",
    "key": "your API key",
}
_RAISE = {
    "tenant": "Raise the limit under Billing",
    "project": "Raise the limit under Settings, Projects",
    "member": "An owner or admin can raise it under Members",
    "key": "Raise the limit under API keys",
    "model": "An owner or admin can raise it under Models, Limits of models",
}
OUT_OF_CREDIT = (
    "This call would cost more than your organization has left: its credit, what its plan includes this month and what "
    "it may owe. Buy credit or raise what it may owe under Billing, Wallet."
)
_LARGER = "Take a larger plan under Billing"
"""The organisation's rates come with its plan."""
_NO_RETRY = (b"x-should-retry", b"false")


def whose_limit(limit: Limit, model: str, *, keyless: bool = False) -> str:
    """Whose limit it is, in words. A call without a key is a member's own."""
    if limit.scope == "member" and keyless:
        return "your membership"
    if limit.scope == "member":
        return "the member who made this API key"
    if limit.scope == "model":
        return f"the model '{model}' in your project" if model else "this model in your project"
    return _WHOSE[limit.scope]


def denial(decision: Decision, model: str = "", *, keyless: bool = False) -> Denial:
    """The refusal of a call of `model`, with a key or without. ValueError for a decision that admits it."""
    limit = decision.limit
    if limit is None:
        raise ValueError("the decision admits the call: there is nothing to refuse")
    whose, code = whose_limit(limit, model, keyless=keyless), decision.limits.currency
    headers = rate_headers(decision)
    if decision.reason in ("spend", "lease") and limit.scope == "wallet":
        return Denial(402, "insufficient_quota", "budget_exceeded", OUT_OF_CREDIT, (*headers, _NO_RETRY))
    if decision.reason in ("spend", "lease"):
        message = (
            f"This call would go beyond the monthly spend limit of {whose} ({written(limit.cap, code=code)}). "
            f"{_RAISE[limit.scope]}, or wait for the next billing period."
        )
        return Denial(402, "insufficient_quota", "budget_exceeded", message, (*headers, _NO_RETRY))
    if decision.reason == "concurrency" and decision.wait_ms:
        message = (
            f"The calls that {whose} has running, of {limit.cap} at once, are being counted anew. "
            f"Retry in {duration(decision.wait_ms)}."
        )
        return Denial(429, "requests", "rate_limit_exceeded", message, (*headers, *_retry(decision.wait_ms)))
    if decision.reason == "concurrency":
        retry = _retry(1000)
        message = (
            f"{_capital(whose)} already has {limit.cap} calls running at once, its limit. Retry when one has finished."
        )
        return Denial(429, "requests", "rate_limit_exceeded", message, (*headers, *retry))
    what = WHAT[limit.kind]
    kind = "requests" if limit.kind == "requests" else "tokens"
    if decision.reason == "too_large":
        smaller = "Ask for fewer" if limit.kind == "output_tokens" else "Send it in smaller parts"
        message = (
            f"This request alone is larger than the limit of {limit.cap:,} {what} per "
            f"{duration(limit.window_ms)} of {whose}. {smaller}."
        )
        return Denial(429, kind, "rate_limit_exceeded", message, (*headers, _NO_RETRY))
    wait = max(decision.wait_ms, 1)
    if decision.slow and limit.kind == "requests":
        budget = decision.slow[0]
        counts = f"each call counts as {SLOWED} of the {limit.cap:,} requests per {duration(limit.window_ms)}"
        message = (
            f"Calls are slowed down: little is left of your organization's credit and what it may owe, and {counts}. "
            f"Retry in {duration(wait)}, or buy credit under Billing, Wallet."
            if budget.scope == "wallet"
            else f"Calls are slowed down: the monthly spend limit of {whose_limit(budget, model, keyless=keyless)} "
            f"({written(budget.cap, code=code)}) is nearly used, and {counts}. Retry in {duration(wait)}, raise the "
            "spend limit or wait for the next month."
        )
        return Denial(429, kind, "rate_limit_exceeded", message, (*headers, *_retry(wait)))
    remedy = _LARGER if limit.scope == "tenant" else _RAISE[limit.scope]
    message = (
        f"Rate limit of {whose} reached: {limit.cap:,} {what} per {duration(limit.window_ms)}. "
        f"Retry in {duration(wait)}. {remedy} if this happens often."
    )
    return Denial(429, kind, "rate_limit_exceeded", message, (*headers, *_retry(wait)))


def _retry(wait_ms: int) -> tuple[tuple[bytes, bytes], ...]:
    return (b"retry-after-ms", b"%d" % wait_ms), (b"retry-after", b"%d" % -(-wait_ms // 1000))


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


AWAY = Denial(
    503,
    "server_error",
    "quota_unavailable",
    "The quota service does not answer, so this call was not started and costs nothing. Retry in a second.",
    ((b"retry-after", b"1"),),
)
"""What a call that costs money is told while the quota server is away."""
