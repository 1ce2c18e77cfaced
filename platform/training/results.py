"""The metrics of a job as CSV, one row per step, for `result_files`."""

import csv
import io
from collections.abc import Iterator

from training.models import Job
from training.selectors.events import SERIES, metric_points

MOST_ROWS = 1_000_000


def results_csv(job: Job) -> Iterator[bytes]:
    """Lines of step, then each series; a step without a value has an empty cell. In the tenant's scope."""
    series = metric_points(job, most=MOST_ROWS)
    rows: dict[int, dict[str, float | None]] = {}
    for name, points in series.items():
        for step, value in points:
            rows.setdefault(int(step or 0), {})[name] = value
    names = [name for name in SERIES if name in series]
    yield _line(["step", *names])
    for step in sorted(rows):
        yield _line([str(step), *(_cell(rows[step].get(name)) for name in names)])


def _cell(value: float | None) -> str:
    return "" if value is None else repr(value)


def _line(cells: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()
