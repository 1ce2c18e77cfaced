"""The tour of the client's calls (`benchmarks/stripe_tour.py`) is taken against the emulator, and its lists compare."""

import json
from pathlib import Path

import pytest

from benchmarks.stripe_steps import STEPS
from benchmarks.stripe_tour import FINE, compare, emulator, main, report, walk

FAMILIES = {
    "customers",
    "products",
    "prices",
    "checkout",
    "portal",
    "subscriptions",
    "invoices",
    "meters",
    "credits",
    "quotes",
    "refunds",
    "coupons",
    "test clocks",
    "webhooks",
}


@pytest.mark.slow
def test_every_step_of_the_tour_is_as_documented() -> None:
    with emulator() as tour:
        results = walk(tour)
    assert [(one.call, one.seen) for one in results if one.outcome != FINE] == []
    assert "100%" in report("emulator", results)


def test_the_tour_goes_through_every_family_and_more_than_sixty_calls() -> None:
    assert {step.family for step in STEPS} >= FAMILIES
    assert len({step.call for step in STEPS}) > 60
    assert all(step.documented for step in STEPS)


def test_two_lists_are_compared_step_by_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = [{"call": "quotes.create", "documented": "A quote is a draft.", "outcome": FINE, "seen": ""}]
    other = [{**steps[0], "outcome": "differs", "seen": "value: 3"}]
    files = []
    for where, found in (("emulator", steps), ("Stripe", other)):
        files.append(tmp_path / f"{where}.json")
        files[-1].write_text(json.dumps({"where": where, "share": 1.0, "steps": found}))
    assert "Stripe: differs value: 3" in compare(*files)
    assert main(["--compare", *map(str, files)]) == 0
    assert "quotes.create: A quote is a draft." in capsys.readouterr().out


def test_stripe_itself_is_asked_only_with_a_test_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_TEST_KEY", "sk_live_1")
    with pytest.raises(SystemExit, match="sk_test_"):
        main(["--stripe"])
