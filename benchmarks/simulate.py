"""Our rule of turns against its rivals on simulated loads: figures, and the plots of `docs/scheduling.md`.

    make simulate                                  # three seeds, checks after every step, plots
    python benchmarks/simulate.py --seeds 1 2 --jobs 2000 --tenants 200 --out /tmp

Every load is ten thousand jobs of a thousand tenants on 64 places, five of the tenants submitting half of the jobs at
once. Prints one line of JSON for each seed and rule; a broken invariant prints its seed and ends with status 1.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_HERE = str(ROOT / "benchmarks")
sys.path[:] = [str(ROOT / "platform"), *(path for path in sys.path if path != _HERE)]

from training.simulator.__main__ import RULES, measured  # noqa: E402
from training.simulator.invariants import Broken, Watch  # noqa: E402
from training.simulator.loads import everyday  # noqa: E402
from training.simulator.world import World  # noqa: E402

COLOURS = {"fair": "#2f6fdf", "fair, no preemption": "#7a52c7", "fifo": "#c2410c", "hard caps": "#5f6b7a"}
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 320, 64, 44, 40
HOUR = 3600.0


def main() -> int:
    """Run, print, draw."""
    arguments = _arguments()
    worlds: dict[str, World] = {}
    for seed in arguments.seeds:
        for name in arguments.rules:
            load = everyday(seed, jobs=arguments.jobs, tenants=arguments.tenants, places=arguments.places)
            checks = name != "capped" and arguments.check
            world = World(load, rule=RULES[name](), seed=seed, after_step=Watch() if checks else None)
            begun = time.perf_counter()
            try:
                world.run()
            except Broken as broken:
                sys.stderr.write(f"seed {seed}, rule {name}, {world.now:.0f} s: {broken}\n")
                return 1
            found = measured(world) | {"wall_seconds": round(time.perf_counter() - begun, 1)}
            sys.stdout.write(f"{json.dumps(found)}\n")
            sys.stdout.flush()
            worlds.setdefault(world.rule.name, world)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "queue-wait.svg").write_text(_waits(worlds))
    (arguments.out / "utilisation.svg").write_text(_utilisation(worlds))
    return 0


def _waits(worlds: dict[str, World]) -> str:
    """Share of the light tenants' jobs that have started after so many minutes; the axis is logarithmic."""
    ticks = (0.1, 1, 10, 100, 1000)

    def x(minutes: float) -> float:
        return LEFT + (WIDTH - LEFT - 20) * (math.log10(max(minutes, 0.1)) + 1) / 4.6

    lines = {}
    for name, world in worlds.items():
        light = (row for row in world.ledger.rows if row.ask.tenant in world.load.light)
        rows = [row for row in light if row.ask.lane != "preemptible"]
        waits = sorted((row.first_start - row.ask.at) / 60 for row in rows if row.first_start is not None)
        step = max(1, len(waits) // 200)
        lines[name] = [(x(waits[at]), (at + 1) / len(waits)) for at in range(0, len(waits), step)]
    marks = [(x(tick), f"{tick:g} min") for tick in ticks]
    return _plot("Wait of tenants with a job now and then: share started within", lines, marks)


def _utilisation(worlds: dict[str, World]) -> str:
    """Share of the places that are used, hour by hour, until the last job has arrived."""
    lines, last = {}, max(world.last_arrival for world in worlds.values())
    for name, world in worlds.items():
        buckets = [0.0] * (int(last / HOUR) + 1)
        for began, ended, width in world.ledger.spans:
            hour = int(began / HOUR)
            while hour * HOUR < ended and hour < len(buckets):
                inside = min(ended, (hour + 1) * HOUR) - max(began, hour * HOUR)
                buckets[hour] += inside * width / (world.load.places * HOUR)
                hour += 1
        span = max(1, len(buckets) - 2)
        lines[name] = [(LEFT + (WIDTH - LEFT - 20) * hour / span, buckets[hour]) for hour in range(span)]
    marks = [(LEFT + (WIDTH - LEFT - 20) * part / 4, f"{part * last / 4 / HOUR:.0f} h") for part in range(5)]
    return _plot("Share of the places in use", lines, marks)


def _plot(title: str, lines: dict[str, Sequence[tuple[float, float]]], marks: list[tuple[float, str]]) -> str:
    def y(share: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * min(share, 1.0)

    style = "font-family='system-ui, sans-serif' font-size='12' fill='#5f6b7a'"
    box = f"xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' role='img'"
    parts = [f"<svg {box}><title>{title}</title>"]
    parts.append(f"<rect width='{WIDTH}' height='{HEIGHT}' rx='8' fill='#ffffff'/>")
    parts.append(f"<text x='{LEFT}' y='18' {style}>{title}</text>")
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(f"<path d='M{LEFT} {y(share):.1f}H{WIDTH - 20}' stroke='#e3e7ec'/>")
        parts.append(f"<text x='{LEFT - 8}' y='{y(share) + 4:.1f}' text-anchor='end' {style}>{share:.0%}</text>")
    for at, words in marks:
        parts.append(f"<text x='{at:.1f}' y='{HEIGHT - 22}' text-anchor='middle' {style}>{words}</text>")
    for number, (name, points) in enumerate(lines.items()):
        path = " ".join(f"{at:.1f},{y(share):.1f}" for at, share in points)
        parts.append(f"<polyline points='{path}' fill='none' stroke='{COLOURS[name]}' stroke-width='2'/>")
        left = LEFT + 150 * number
        parts.append(f"<path d='M{left} {HEIGHT - 8}h18' stroke='{COLOURS[name]}' stroke-width='3'/>")
        parts.append(f"<text x='{left + 24}' y='{HEIGHT - 4}' {style}>{name}</text>")
    return "\n".join([*parts, "</svg>\n"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--tenants", type=int, default=1_000)
    parser.add_argument("--places", type=int, default=64)
    parser.add_argument("--rules", nargs="+", choices=RULES, default=["fair", "fifo", "capped"])
    parser.add_argument("--no-check", dest="check", action="store_false", help="do not check after every step")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "plots", help="where the plots go")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
