"""Our own flows with a Stripe: the local emulator always, Stripe's own test mode when a key for it is there.

`python -m tests.billing.scenarios` prints them side by side.
"""

import os
from collections.abc import Iterator

import pytest
import stripe

from billing.stripe_port import StripePort
from tests.billing.emulated import KEY, Emulator
from tests.billing.scenarios import money, subscribing  # noqa: F401
from tests.billing.scenarios.scene import SCENARIOS, Scene, play

REAL_KEY = os.environ.get("STRIPE_TEST_KEY", "")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """A local Stripe for this module."""
    running = Emulator(tmp_path_factory.mktemp("scenarios"))
    yield running
    running.stop()


@pytest.fixture(params=["emulator", "stripe"])
def scene(request: pytest.FixtureRequest) -> Scene:
    """The same scene, two Stripes."""
    if request.param == "emulator":
        running = request.getfixturevalue("stage")
        return Scene(StripePort(KEY, running.url), running.client)
    if not REAL_KEY.startswith("sk_test_"):
        pytest.skip("needs STRIPE_TEST_KEY, a key of Stripe's test mode")
    return Scene(StripePort(REAL_KEY), stripe.StripeClient(REAL_KEY, max_network_retries=3))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_step_is_as_expected(scenario: str, scene: Scene) -> None:
    results = play(scenario, scene)
    assert [(result.step, result.seen) for result in results] == [(result.step, result.expected) for result in results]
