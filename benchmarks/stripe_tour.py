"""A tour of the `stripe` client: what Stripe documents of each call, and whether the Stripe at hand behaves so.

    python -m benchmarks.stripe_tour                     # a local emulator of its own
    python -m benchmarks.stripe_tour --json emulator.json
    STRIPE_TEST_KEY=sk_test_… python -m benchmarks.stripe_tour --stripe --json stripe.json
    python -m benchmarks.stripe_tour --compare emulator.json stripe.json

Every step names one call of the client, states what the documentation says of it, and checks that. A step is
`as documented`, `differs` (with what was seen) or `not reached` (an earlier step left out what it needs). The share is
the first of the three among all steps. Exit status 1 when a step differs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import stripe

from benchmarks.stripe_steps import STEPS
from benchmarks.stripe_steps.step import NotReached, Tour

ROOT = Path(__file__).resolve().parents[1]
KEY = "sk_test_tour"
FINE, DIFFERS, BLOCKED = "as documented", "differs", "not reached"


@dataclass(frozen=True)
class Result:
    """What became of one step."""

    family: str
    call: str
    documented: str
    outcome: str
    seen: str = ""
    ms: int = 0


def walk(tour: Tour, tell: Callable[[Result], None] = lambda _: None) -> list[Result]:
    """Take every step, in order, whatever became of the ones before."""
    results = []
    for step in STEPS:
        start, outcome, seen = time.monotonic(), FINE, ""
        try:
            step.run(tour)
        except NotReached as missing:
            outcome, seen = BLOCKED, f"needs {missing}"
        except AssertionError as error:
            outcome, seen = DIFFERS, str(error) or "the check failed"
        except stripe.StripeError as error:
            outcome, seen = DIFFERS, f"{type(error).__name__} {error.http_status}: {error.user_message}"
        except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
            outcome, seen = DIFFERS, f"{type(error).__name__}: {error}"
        ms = int((time.monotonic() - start) * 1000)
        results.append(Result(step.family, step.call, step.documented, outcome, " ".join(seen.split())[:200], ms))
        tell(results[-1])
    return results


def share(results: list[Result]) -> float:
    """The part of the steps that behaved as documented."""
    return sum(result.outcome == FINE for result in results) / len(results)


@contextmanager
def emulator() -> Iterator[Tour]:
    """A fresh emulator, for as long as the tour takes."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "billing.stripe_emulator", "--debug", "--strict", "--port", "0"]
        process = subprocess.Popen([*command, "--data", folder], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        try:
            url = process.stdout.readline().split()[-1] if process.stdout else ""
            bases: Any = {"api": url, "files": url, "meter_events": url}
            yield Tour(
                stripe.StripeClient(KEY, base_addresses=bases, max_network_retries=0), "http://127.0.0.1:9/hook", url
            )
        finally:
            process.terminate()
            process.wait(10)


def real() -> Tour:
    """Stripe's own test mode. Raises SystemExit without a key for it."""
    key = os.environ.get("STRIPE_TEST_KEY", "")
    if not key.startswith("sk_test_"):
        raise SystemExit("--stripe needs STRIPE_TEST_KEY, a key of Stripe's test mode (sk_test_…).")
    return Tour(stripe.StripeClient(key, max_network_retries=3), "https://example.com/hook")


def _tell(result: Result) -> None:
    sys.stdout.write(f"{result.family:14} {result.call:44} {result.outcome:14} {result.seen}\n")
    sys.stdout.flush()


def report(where: str, results: list[Result]) -> str:
    """How many of each family behaved as documented, and the share of all."""
    fine, every = Counter[str](), Counter[str]()
    for result in results:
        every[result.family] += 1
        fine[result.family] += result.outcome == FINE
    lines = [f"{family:14} {fine[family]:3} of {count:3}" for family, count in every.items()]
    calls = len({result.call for result in results})
    lines.append(
        f"{where}: {sum(fine.values())} of {len(results)} steps over {calls} calls as documented ({share(results):.0%})"
    )
    return "\n".join(lines)


def compare(first: Path, second: Path) -> str:
    """Two runs side by side: the steps whose outcome is not the same."""
    runs = [json.loads(path.read_text("utf-8")) for path in (first, second)]
    sides: list[dict[str, Any]] = [{f"{r['call']}: {r['documented']}": r for r in run["steps"]} for run in runs]
    lines = [f"{run['where']}: {run['share']:.0%} of {len(run['steps'])} steps" for run in runs]
    for name in dict.fromkeys([*sides[0], *sides[1]]):
        found = [side.get(name, {"outcome": "no such step", "seen": ""}) for side in sides]
        if found[0]["outcome"] != found[1]["outcome"]:
            lines.append(name)
            lines += [f"  {run['where']}: {one['outcome']} {one['seen']}" for run, one in zip(runs, found, strict=True)]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run, print, and write the list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stripe", action="store_true", help="against Stripe itself, with STRIPE_TEST_KEY")
    parser.add_argument("--json", type=Path, help="write the list here")
    parser.add_argument("--compare", nargs=2, type=Path, metavar="FILE", help="compare two lists, run nothing")
    args = parser.parse_args(argv)
    if args.compare:
        sys.stdout.write(compare(*args.compare) + "\n")
        return 0
    where = "Stripe" if args.stripe else "emulator"
    if args.stripe:
        results = walk(real(), _tell)
    else:
        with emulator() as tour:
            results = walk(tour, _tell)
    sys.stdout.write("\n" + report(where, results) + "\n")
    if args.json:
        said = {"where": where, "api_version": stripe.api_version, "share": share(results)}
        args.json.write_text(json.dumps({**said, "steps": [asdict(r) for r in results]}, indent=2) + "\n", "utf-8")
    return 1 if any(result.outcome != FINE for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
