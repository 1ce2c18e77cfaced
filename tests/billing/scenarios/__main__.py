"""`python -m tests.billing.scenarios [--json FILE]`: every scenario against the emulator, and against Stripe itself
when STRIPE_TEST_KEY is set. Prints the two side by side; exit status 1 when a step is not as expected.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import django
import stripe

ROOT = Path(__file__).resolve().parents[3]


def main() -> int:
    """Play, print, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.billing.scenarios", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the results here")
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT / "platform"))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    from billing.stripe_port import StripePort
    from tests.billing.emulated import KEY, Emulator
    from tests.billing.scenarios import money, subscribing  # noqa: F401
    from tests.billing.scenarios.scene import SCENARIOS, Result, Scene, play

    def run(port: StripePort, client: stripe.StripeClient) -> list[Result]:
        return [result for name in SCENARIOS for result in play(name, Scene(port, client))]

    runs: dict[str, list[Result]] = {}
    with tempfile.TemporaryDirectory() as folder:
        emulator = Emulator(Path(folder))
        try:
            runs["emulator"] = run(StripePort(KEY, emulator.url), emulator.client)
        finally:
            emulator.stop()
    key = os.environ.get("STRIPE_TEST_KEY", "")
    if key.startswith("sk_test_"):
        runs["Stripe"] = run(StripePort(key), stripe.StripeClient(key, max_network_retries=3))
    sys.stdout.write(table(runs))
    if args.json:
        rows: dict[str, Any] = {
            where: [{"scenario": r.scenario, "step": r.step, "fine": r.fine, "seen": r.seen} for r in results]
            for where, results in runs.items()
        }
        args.json.write_text(json.dumps(rows, indent=2, default=str) + "\n", "utf-8")
    return 1 if any(not result.fine for results in runs.values() for result in results) else 0


def table(runs: dict[str, Any]) -> str:
    """One line for each step, one column for each Stripe."""
    lines = ["".join([f"{'scenario':20}{'step':62}", *(f"{where:12}" for where in runs)])]
    notes = []
    for row in zip(*runs.values(), strict=True):
        marks = "".join(f"{'as expected' if result.fine else 'differs':12}" for result in row)
        lines.append(f"{row[0].scenario:20}{row[0].step:62}{marks}")
        for where, result in zip(runs, row, strict=True):
            if not result.fine:
                notes.append(f"{where}: {result.scenario}, {result.step}: {result.seen}, expected {result.expected}")
    sums = [f"{where}: {sum(r.fine for r in results)} of {len(results)} steps" for where, results in runs.items()]
    return "\n".join([*lines, "", *sums, *notes, ""])


if __name__ == "__main__":
    sys.exit(main())
