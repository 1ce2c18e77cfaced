"""Reading the published plans: TOML files beside a list of their digests.

A file whose digest differs from the recorded one stops the start-up: what a subscription pinned must stay what it was.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import tomllib
from pathlib import Path
from typing import Any

from billing.plans.plan import Plan, PlanLimits

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
        return sorted((self.latest(code) for code in codes), key=lambda plan: plan.rank)

    @property
    def free(self) -> Plan:
        """What everybody has without a card."""
        return self.latest(FREE)


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
    price = data.pop("price")
    limits = PlanLimits(**data.pop("limits"))
    limits.check()
    cents = None if price.get("by_contract") else price["cents"]
    if cents is not None and (not isinstance(cents, int) or cents < 0):
        raise ValueError("the price must be whole cents")
    allowance = data.pop("allowance")["usage_nano"]
    if not isinstance(allowance, int) or allowance < 0:
        raise ValueError("the allowance must be whole nano-USD")
    return Plan(
        **{name: data.pop(name) for name in ("code", "version", "name", "rank", "summary")},
        price_cents=cents,
        currency=price["currency"],
        interval=price["interval"],
        allowance_nano=allowance,
        limits=limits,
        features=frozenset(data.pop("features")["granted"]),
        **data,
    )
