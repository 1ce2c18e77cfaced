"""The whole main job over the public doors, with the official clients and real workers: demo and docs are the tests."""

import csv
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.journeys.conftest import Stack

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "examples" / "support_intents.csv"
CHAPTER = ROOT / "templates" / "docs" / "content" / "quickstart.md"
pytestmark = pytest.mark.slow


def test_the_demo_does_the_whole_main_job(stack: Stack, tmp_path: Path) -> None:
    done = run(stack, ROOT / "examples" / "demo.py", stack.base_url, some_rows(tmp_path, labels=3, each=20))
    for sign in ("plan Developer", "is active", "Refund_Status", "gate passed", "is live", "3 decisions metered"):
        assert sign in done, f"{sign!r} is missing:\n{done}"


def test_the_quick_starts_python_runs_in_one_go(stack: Stack, tmp_path: Path) -> None:
    made = run(stack, "manage.py", "tenant_create", "--email=ida@example.com", "--name=Ida", "--plan=free", "--json")
    key = json.loads(made)["api_key"]["key"]
    some_rows(tmp_path, labels=3, each=20)
    steps = re.findall(r"```python\n(.*?)```", CHAPTER.read_text(encoding="utf-8"), flags=re.DOTALL)
    variables = {"OPENAI_API_KEY": key, "OPENAI_BASE_URL": f"{stack.base_url}/v1"}
    done = run(stack, "-c", "\n".join(steps), folder=tmp_path, **variables)
    file, price, job, answer = done.splitlines()
    assert file.startswith("file-") and file.endswith(" processed")
    assert "ceiling" in price
    assert job.startswith("succeeded ft:")
    assert re.fullmatch(r"refund_status (0\.\d+|1\.0)", answer)


def some_rows(folder: Path, *, labels: int, each: int) -> Path:
    """A part of the example data with its slips, so that training takes seconds instead of minutes."""
    rows = list(csv.DictReader(DATA.open(newline="")))
    kept = {"refund_status", "Refund_Status", *sorted({row["label"] for row in rows})[-labels:]}
    seen: Counter[str] = Counter()
    path = folder / DATA.name
    with path.open("w", newline="") as file:
        out = csv.DictWriter(file, rows[0])
        out.writeheader()
        for row in rows:
            seen[row["label"]] += 1
            if row["label"] in kept and seen[row["label"]] <= each:
                out.writerow(row)
    return path


def run(stack: Stack, *arguments: str | Path, folder: Path = ROOT, **variables: str) -> str:
    """What a Python program prints that must end well."""
    done = subprocess.run(
        [sys.executable, "-u", *map(str, arguments)],
        cwd=folder,
        env=stack.environment | variables,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{stack.log}"
    return done.stdout
