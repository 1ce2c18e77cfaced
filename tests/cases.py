"""How many cases Hypothesis made up, said at the end of a run: of the tests of money, and of all."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any

import pytest

_CASES = "cases"
_PHASE = re.compile(r"(\d+) passing, (\d+) failing, and \d+ invalid test cases")


def cases_of(statistics: str) -> int:
    """The cases that were run and fitted, over the phases of a test, of what Hypothesis says about it."""
    return sum(int(passing) + int(failing) for passing, failing in _PHASE.findall(statistics))


class Cases:
    """A plugin. Counts travel in the reports, so that they arrive from xdist's workers too."""

    def __init__(self) -> None:
        self.tests: dict[str, int] = {}

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, Any, None]:
        """Note it in the test's last report."""
        report = (yield).get_result()
        statistics = getattr(item, "hypothesis_statistics", None)
        if report.when == "teardown" and statistics:
            report.user_properties.append((_CASES, cases_of(statistics)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take it from there."""
        for name, number in report.user_properties:
            if name == _CASES:
                self.tests[report.nodeid] = number

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say it."""
        if not self.tests:
            return
        money = [number for test, number in self.tests.items() if test.startswith("tests/billing/") or "money" in test]
        terminalreporter.write_line(
            f"Generated cases: {sum(money):,} in {len(money)} tests of money, "
            f"{sum(self.tests.values()):,} in {len(self.tests)} tests of everything"
        )
