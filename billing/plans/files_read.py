"""Reading the published plans: TOML files beside a list of their digests.

A file whose digest differs from the recorded one stops the start-up: what a subscription pinned must stay what it was.

Schema 1 has one price. Schema 2 (`schema = 2`) has prices by interval and currency, seats, a trial, rollover and
overage; each but the prices may be left out.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import tomllib
from pathlib import Path
from typing import Any

from billing.plans.plan import INTERVALS, Plan, PlanLimits, Prices, Rollover, Seats, Trial

FOLDER = Path(__file__).parent / "files"
FREE = "free"


class PlanError(ValueError):
    """A plan file that cannot be trusted."""


@dataclasses.dataclass(frozen=True)
class PlanBook:
    """All published plan versions."""

    plans: dict[tuple[str, int], Plan]

    def get(self, code: str, version: int) -> Plan:
        """A version; KeyError if it was never published."""
        return self.plans[code, version]

    def latest(self, code: str) -> Plan:
        """The newest version of a plan, the one that is sold; KeyError for a code nobody published."""
        return self.plans[code, max((version for name, version in self.plans if name == code), default=0)]

    def offered(self) -> list[Plan]:
        """What can be had today, smallest first."""
        codes = {code for code, _ in self.plans}
        return sorted((self.latest(code) for code in codes), key=_size)

    @property
    def free(self) -> Plan:
        """What everybody has without a card."""
        return self.latest(FREE)


def _size(plan: Plan) -> tuple[int, float, str]:
    """Smallest first: of one rank, the cheaper one; by contract is the largest."""
    return plan.rank, float("inf") if plan.price_cents is None else plan.price_cents, plan.code


@functools.cache
def plan_book(folder: Path = FOLDER) -> PlanBook:
    """Load and check every plan of a folder."""
    sums = [line.split() for line in (folder / "SHA256SUMS").read_text().splitlines() if line.strip()]
    digests = {name: digest for digest, name in sums}
    files = {file.name: file for file in sorted(folder.glob("*.toml"))}
    gone = sorted(set(digests) - set(files))
    if gone:
        raise PlanError(f"published plans are gone: {', '.join(gone)}")
    plans: dict[tuple[str, int], Plan] = {}
    for name, file in files.items():
        content = file.read_bytes()
        if digests.get(name) != hashlib.sha256(content).hexdigest():
            raise PlanError(f"{name} differs from what was published; a new offer needs a new file")
        try:
            plan = _parse(tomllib.loads(content.decode()))
        except (KeyError, TypeError, ValueError) as error:
            raise PlanError(f"{name} is not a plan: {error}") from error
        if f"{plan.code}-{plan.version}.toml" != name:
            raise PlanError(f"{name} names itself {plan.code} {plan.version}")
        plans[plan.key] = plan
    if not any(code == FREE for code, _ in plans):
        raise PlanError("there is no free plan")
    return PlanBook(plans)


def _parse(data: dict[str, Any]) -> Plan:
    schema = data.pop("schema", 1)
    if schema not in (1, 2):
        raise ValueError(f"schema {schema} is none that this release reads")
    limits = PlanLimits(**data.pop("limits"))
    limits.check()
    terms = _price_of_one(data.pop("price")) if schema == 1 else _terms(data, limits)
    allowance = _whole(data.pop("allowance")["usage_nano"], "the allowance")
    plan = Plan(
        **{name: data.pop(name) for name in ("code", "version", "name", "rank", "summary")},
        **terms,
        allowance_nano=allowance,
        limits=limits,
        features=frozenset(data.pop("features")["granted"]),
        schema=schema,
        **data,
    )
    if plan.trial and not plan.trial.card and plan.overage:
        raise ValueError("a trial without a card is of a plan without overage: nobody could be charged for it")
    if plan.trial and (plan.trial.usage_nano or 0) > allowance:
        raise ValueError("a trial includes no more than the plan")
    if not plan.overage and limits.monthly_spend_nano > allowance:
        raise ValueError("without overage the spend limit is what is included")
    return plan


def _price_of_one(price: dict[str, Any]) -> dict[str, Any]:
    cents = None if price.get("by_contract") else _whole(price["cents"], "the price")
    way = (price["interval"], price["currency"])
    return {"price_cents": cents, "interval": way[0], "currency": way[1], "prices": {way: cents} if cents else {}}


def _terms(data: dict[str, Any], limits: PlanLimits) -> dict[str, Any]:
    """What schema 2 says of money, taken out of the data."""
    prices: Prices = {}
    if not (by_contract := data.pop("by_contract", False)):
        prices = _prices(data.pop("prices"), "the price")
        if not prices or next(iter(prices))[0] != "month":
            raise ValueError("prices begin with those of a month")
    currency = next((currency for _, currency in prices), "usd")
    for interval, other in prices:
        if prices[interval, other] > 12 * prices.get(("month", other), 0):
            raise ValueError(f"a year in {other} costs more than twelve months, or there is no price of a month")
    sold = bool(prices.get(("month", currency)))
    terms: dict[str, Any] = {
        "price_cents": None if by_contract else prices["month", currency],
        "currency": currency,
        "interval": "month",
        "prices": prices if sold else {},
    }
    if "seats" in data:
        terms["seats"] = _seats(data.pop("seats"), limits, prices)
    if "trial" in data:
        trial = Trial(**data.pop("trial"))
        if not sold or not 1 <= _whole(trial.days, "the trial") <= 90 or not isinstance(trial.card, bool):
            raise ValueError("a trial is of 1 to 90 days, says whether it needs a card, and is of a plan with a price")
        if trial.at_end not in ("cancel", "pause"):
            raise ValueError("at the end of a trial without a card, a plan is to cancel or to pause")
        if trial.usage_nano is not None:
            _whole(trial.usage_nano, "the usage of a trial")
        terms["trial"] = trial
    if "rollover" in data:
        rollover = Rollover(**data.pop("rollover"))
        if not 1 <= _whole(rollover.percent, "rollover") <= 100:
            raise ValueError("rollover is from 1 to 100 percent")
        _whole(rollover.most_nano, "the most that rolls over")
        terms["rollover"] = rollover
    if "overage" in data:
        terms["overage"] = data.pop("overage")["allowed"]
        if not isinstance(terms["overage"], bool):
            raise ValueError("overage is allowed or not: true or false")
    return terms


def _seats(table: dict[str, Any], limits: PlanLimits, prices: Prices) -> Seats:
    included = table.pop("included")
    if included != limits.members:
        raise ValueError("the seats that are included are the limit of members")
    seats = Seats(included, _prices(table, "a seat"))
    if seats.prices and set(seats.prices) != set(prices):
        raise ValueError("one more seat has a price wherever the plan has one")
    return seats


def _prices(table: dict[str, Any], what: str) -> Prices:
    unknown = set(table) - set(INTERVALS)
    if unknown:
        raise ValueError(f"{what} is for a {' or a '.join(INTERVALS)}, not for a {sorted(unknown)[0]}")
    found = {
        (interval, currency): _whole(cents, what) for interval, row in table.items() for currency, cents in row.items()
    }
    wrong = [currency for _, currency in found if len(currency) != 3 or currency != currency.lower()]
    if wrong:
        raise ValueError(f"{wrong[0]} is no currency as Stripe writes them: three small letters")
    return found


def _whole(value: Any, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{what} must be a whole number, 0 or more")
    return value
