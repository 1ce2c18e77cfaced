"""Make the report that the landing page shows: a real run on the example data, cleaned by its findings.

Usage: python docs/landing_report.py BASE_URL KEY
Writes platform/console/example_report.json: the figures of the run and the labels that it confuses most.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from openai import OpenAI

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "examples" / "support_intents.csv"
TARGET = ROOT / "platform" / "console" / "example_report.json"
FIXES = [
    {"fix": "trim"},
    {
        "fix": "merge_labels",
        "labels": {"Refund_Status": "refund_status", "cancel_subscripton": "cancel_subscription"},
    },
    {"fix": "drop_duplicates"},
    {"fix": "drop_conflicts"},
]
SHOWN = 4


def main(base_url: str, key: str) -> None:
    """Upload, clean, train, and keep what the page needs."""
    client = OpenAI(base_url=f"{base_url}/v1", api_key=key)
    file = client.files.create(file=DATA, purpose="fine-tune")
    client.files.wait_for_processing(file.id)
    made = client.post(
        "/datasets", cast_to=object, body={"file_id": file.id, "name": "support-intents", "fixes": FIXES}
    )
    versions: Any = client.get(f"/datasets/{made['id']}/versions", cast_to=object)
    job = client.fine_tuning.jobs.create(
        model="all-MiniLM-L6-v2",
        training_file=versions["data"][0]["id"],
        seed=7,
        suffix="support",
        extra_body={"x_task": "text-classification", "x_method": "full"},
    )
    while job.status not in ("succeeded", "failed", "cancelled"):
        time.sleep(3)
        job = client.fine_tuning.jobs.retrieve(job.id)
        print(job.status, f"{job.x_progress:.0%}")
    report: Any = client.get(f"/fine_tuning/jobs/{job.id}/report", cast_to=object)
    kept = {name: report[name] for name in ("n", "test", "baseline", "verdict", "per_class", "gate")}
    shown = most_confused(report["confusion"])
    kept["labels"] = [report["labels"][i] for i in shown]
    kept["confusion"] = [[report["confusion"][i][j] for j in shown] for i in shown]
    kept["x_price_usd"] = job.x_price_usd
    TARGET.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"wrote {TARGET.relative_to(ROOT)}")


def most_confused(counts: list[list[int]]) -> list[int]:
    """Places of a few labels that are taken for each other, in the order of the matrix."""
    size = range(len(counts))
    chosen: list[int] = []
    for i, j in sorted(
        ((i, j) for i in size for j in size if i < j), key=lambda p: -counts[p[0]][p[1]] - counts[p[1]][p[0]]
    ):
        chosen += [place for place in (i, j) if place not in chosen]
        if len(chosen) >= SHOWN:
            break
    return sorted(chosen[:SHOWN])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1].rstrip("/"), sys.argv[2])
