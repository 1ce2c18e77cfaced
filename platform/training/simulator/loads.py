"""Who asks for what and when, from a seed. Times are seconds."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from training.scheduling.fairness import PREEMPTIBLE, PRIORITY, STANDARD

MINUTE, HOUR = 60.0, 3600.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a tenant has bought."""

    guaranteed: int = 0
    most: int = 1
    weight: int = 1
    rank: int = 0


FREE, DEVELOPER, TEAM, ENTERPRISE = Plan(0, 1, 1, 0), Plan(1, 4, 2, 1), Plan(2, 8, 4, 1), Plan(4, 64, 4, 2)


@dataclass(frozen=True, slots=True)
class Ask:
    """One job as its tenant submits it."""

    at: float
    tenant: int
    seconds: float
    """How long it really takes without interruption."""
    estimate: float
    width: int = 1
    lane: str = STANDARD


@dataclass(frozen=True, slots=True)
class Load:
    """Tenants, their jobs in order of time, and the machines: places of each host, and the hosts' classes."""

    plans: dict[int, Plan]
    asks: list[Ask]
    hosts: dict[int, int]
    ranks: dict[int, int] = field(default_factory=dict)
    light: frozenset[int] = frozenset()
    """Tenants whose waiting is looked at: those with a job now and then."""

    @property
    def places(self) -> int:
        """Of all hosts."""
        return sum(self.hosts.values())

    @property
    def work(self) -> float:
        """Place-seconds of all jobs."""
        return sum(ask.seconds * ask.width for ask in self.asks)


def everyday(seed: int, *, jobs: int = 10_000, tenants: int = 1_000, places: int = 64, noisy: int = 5) -> Load:
    """A thousand tenants of four plans with a job now and then, and a few who submit thousands at once.

    Lengths are log-normal around 20 minutes (minutes to hours), estimates are off by a quarter either way. The machines
    have about as much work as they can do.
    """
    rng = random.Random(seed)
    plans = {tenant: rng.choices((FREE, DEVELOPER, TEAM), (70, 22, 8))[0] for tenant in range(tenants)}
    plans |= dict.fromkeys(range(noisy), ENTERPRISE)
    quiet = jobs // 2
    lengths = [min(max(rng.lognormvariate(7.1, 0.9), MINUTE), 12 * HOUR) for _ in range(jobs)]
    widths = [rng.choices((1, 2, 4), (92, 6, 2))[0] for _ in range(jobs)]
    span = sum(length * width for length, width in zip(lengths, widths, strict=True)) / places
    asks = []
    for number, (length, width) in enumerate(zip(lengths, widths, strict=True)):
        heavy = number >= quiet and noisy > 0
        tenant = rng.randrange(noisy) if heavy else rng.randrange(noisy, tenants)
        at = rng.choice((0.0, span / 3)) + rng.random() * HOUR if heavy else rng.random() * span
        lane = rng.choices((STANDARD, PREEMPTIBLE, PRIORITY), (84, 12, 4))[0]
        wide = min(width, plans[tenant].most)
        asks.append(Ask(at, tenant, length, length * rng.uniform(0.75, 1.25), wide, lane))
    asks.sort(key=lambda ask: (ask.at, ask.tenant))
    hosts = dict.fromkeys(range(max(1, places // 8)), 8)
    return Load(plans, asks, hosts, light=frozenset(range(noisy, tenants)))


def small(seed: int) -> Load:
    """A few tenants and hosts with everything in them, every job within somebody's reach: for many seeds, with
    faults."""
    rng = random.Random(seed)
    gangs = (1, 1, 1, 2, 3) if seed % 2 else (1,)
    """Beside a gang some promises are off (see `invariants`), so every other seed has none."""
    tenants, hosts = rng.randint(2, 6), {host: rng.randint(1, 4) for host in range(rng.randint(1, 3))}
    ranks = {host: rng.randint(0, 2) for host in hosts}
    plans = {}
    for tenant in range(tenants):
        most, rank = rng.randint(1, 6), max(rng.randint(0, 2), min(ranks.values()))
        plans[tenant] = Plan(rng.randint(0, most), most, rng.choice((0, 1, 1, 2, 8)), rank)
    asks = []
    for _ in range(rng.randint(5, 60)):
        tenant = rng.randrange(tenants)
        seconds = rng.choice((MINUTE, 10 * MINUTE, HOUR, 3 * HOUR)) * rng.uniform(0.5, 1.5)
        within = (count for host, count in hosts.items() if ranks[host] <= plans[tenant].rank)
        width = min(rng.choice(gangs), plans[tenant].most, max(within))
        lane = rng.choice((STANDARD, STANDARD, PREEMPTIBLE, PRIORITY))
        asks.append(Ask(rng.random() * 4 * HOUR, tenant, seconds, seconds * rng.uniform(0.3, 3.0), width, lane))
    asks.sort(key=lambda ask: (ask.at, ask.tenant))
    return Load(plans, asks, hosts, ranks=ranks)
