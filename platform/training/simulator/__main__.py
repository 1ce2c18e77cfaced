"""`python -m training.simulator`: one load under our rule and its rivals; figures, and the seed of a failure."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time

from training import states
from training.scheduling.fairness import PREEMPTIBLE
from training.simulator.invariants import Broken, Watch
from training.simulator.loads import everyday
from training.simulator.rivals import Capped, Fair, Fifo, Rule, Unguaranteed
from training.simulator.world import World

RULES: dict[str, type[Rule]] = {"fair": Fair, "unguaranteed": Unguaranteed, "fifo": Fifo, "capped": Capped}


def main() -> int:
    """Run and print; 1 when something that must hold did not."""
    arguments = _arguments()
    figures = []
    for name in arguments.rules:
        load = everyday(arguments.seed, jobs=arguments.jobs, tenants=arguments.tenants, places=arguments.places)
        watch = Watch() if arguments.check else None
        world = World(load, rule=RULES[name](), seed=arguments.seed, after_step=watch)
        began = time.perf_counter()
        try:
            world.run()
        except Broken as error:
            sys.stderr.write(f"seed {arguments.seed}, rule {name}, {world.now:.0f} s: {error}\n")
            return 1
        figures.append(measured(world) | {"wall_seconds": round(time.perf_counter() - began, 1)})
        sys.stdout.write(f"{json.dumps(figures[-1])}\n")
        sys.stdout.flush()
    return 0


def measured(world: World) -> dict[str, float | int | str]:
    """Waits in minutes, utilisation, and what preemption cost."""
    rows, load = world.ledger.rows, world.load
    light = sorted(
        (row.first_start - row.ask.at) / 60
        for row in rows
        if row.first_start is not None and row.ask.tenant in load.light and row.ask.lane != PREEMPTIBLE
    )
    makespan = max((row.finished_at or 0.0) for row in rows)
    return {
        "rule": world.rule.name,
        "seed": world.seed,
        "jobs": len(rows),
        "succeeded": sum(row.state == states.SUCCEEDED for row in rows),
        "makespan_hours": round(makespan / 3600, 1),
        "utilisation": round(utilisation(world), 4),
        "light_wait_median_minutes": round(statistics.median(light), 2),
        "light_wait_p95_minutes": round(light[int(0.95 * len(light))], 1),
        "preemptions": sum(row.preemptions for row in rows),
        "work_lost_share": round(sum(row.spent for row in rows) / load.work - 1, 5),
        "history": world.history[:16],
    }


def utilisation(world: World) -> float:
    """Share of the places' time that was used, up to the moment when the last job arrived."""
    return world.busy / (world.load.places * world.last_arrival)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="training.simulator", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--tenants", type=int, default=1_000)
    parser.add_argument("--places", type=int, default=64)
    parser.add_argument("--rules", nargs="+", choices=RULES, default=["fair"])
    parser.add_argument("--no-check", dest="check", action="store_false", help="do not check after every step")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
