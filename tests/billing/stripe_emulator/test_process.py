"""The process: what it refuses, what it survives, and how it delivers."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.billing.emulated import ROOT, SECRET, Emulator, wait_for

pytestmark = pytest.mark.slow


class Listener(ThreadingHTTPServer):
    """A webhook endpoint that notes what comes; it refuses as often as it is told to."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.signatures: list[str] = []
        self.refuse = 0
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if listener.refuse > 0:
                    listener.refuse -= 1
                    self.send_response(503)
                else:
                    listener.bodies.append(body)
                    listener.signatures.append(self.headers["Stripe-Signature"])
                    self.send_response(200)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    def types(self) -> list[str]:
        return [json.loads(body)["type"] for body in self.bodies]


@pytest.fixture
def listener() -> Iterator[Listener]:
    server = Listener()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def delivering(tmp_path: Path, listener: Listener) -> Iterator[Emulator]:
    running = Emulator(tmp_path, "--webhook-url", listener.url, "--webhook-secret", SECRET)
    yield running
    running.stop()


@pytest.mark.parametrize(
    ("options", "environment", "words"),
    [
        ([], {}, "development machine"),
        (["--debug"], {"DEBUG": "false"}, "development machine"),
        (["--debug", "--api-key", "sk_live_1"], {}, "not a test key"),
        (["--debug"], {"STRIPE_SECRET_KEY": "rk_live_1"}, "not a test key"),
        (["--debug", "--webhook-url", "http://127.0.0.1:1/"], {}, "needs a secret"),
        (["--debug", "--webhook-url", "https://example.com/", "--webhook-secret", "s"], {}, "this machine only"),
    ],
)
def test_it_refuses_to_start_where_it_must_not(
    tmp_path: Path, options: list[str], environment: dict[str, str], words: str
) -> None:
    base = {k: v for k, v in os.environ.items() if k not in {"DEBUG", "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"}}
    command = [sys.executable, "-m", "billing.stripe_emulator", "--port", "0", "--data", str(tmp_path), *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**base, **environment}, timeout=30)
    assert done.returncode == 2
    assert words in done.stderr


def test_it_imports_nothing_of_the_house() -> None:
    code = (
        "import sys, billing.stripe_emulator.__main__, billing.stripe_emulator.nouns\n"
        "house = ('django', 'kit', 'tenants', 'config', 'celery', 'redis', 'psycopg')\n"
        "print([m for m in sys.modules if m.split('.')[0] in house or "
        "m.startswith('billing.') and not m.startswith('billing.stripe_emulator')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout.strip() == "[]"


def test_it_survives_a_kill_with_everything_it_answered(tmp_path: Path) -> None:
    first = Emulator(tmp_path)
    subscription = first.subscribe()
    first.advance(days=3)
    before = first.control()
    first.stop(kill=True)
    second = Emulator(tmp_path)
    try:
        assert second.v1.subscriptions.retrieve(subscription.id).status == "active"
        after = second.control()
        assert after["objects"] == before["objects"]
        assert 0 <= after["now"] - before["now"] < 60
    finally:
        second.stop()


def test_two_of_them_never_share_a_folder(tmp_path: Path) -> None:
    first = Emulator(tmp_path)
    try:
        command = [sys.executable, "-m", "billing.stripe_emulator", "--debug", "--port", "0", "--data", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=30)
        assert done.returncode == 2
        assert "already uses" in done.stderr
    finally:
        first.stop()


def test_events_arrive_signed_so_that_the_sdk_believes_them(delivering: Emulator, listener: Listener) -> None:
    customer = delivering.v1.customers.create({"name": "Ada"})
    wait_for(lambda: listener.bodies)
    event = delivering.client.construct_event(listener.bodies[0], listener.signatures[0], SECRET)
    assert (event.type, event.data.object["id"]) == ("customer.created", customer.id)
    with pytest.raises(stripe.SignatureVerificationError):
        delivering.client.construct_event(listener.bodies[0] + b" ", listener.signatures[0], SECRET)


def test_a_delivery_that_is_refused_comes_again(delivering: Emulator, listener: Listener) -> None:
    listener.refuse = 1
    delivering.v1.customers.create({})
    wait_for(lambda: listener.types() == ["customer.created"])
    assert delivering.control()["deliveries"] == {"delivered": 1}


def test_what_waited_while_it_was_down_is_delivered_after(tmp_path: Path, listener: Listener) -> None:
    hook = ("--webhook-url", listener.url, "--webhook-secret", SECRET)
    first = Emulator(tmp_path, *hook)
    listener.refuse = 1
    first.v1.customers.create({})
    wait_for(lambda: listener.refuse == 0)
    first.stop(kill=True)
    second = Emulator(tmp_path, *hook)
    try:
        wait_for(lambda: listener.types() != [])
        assert listener.types() == ["customer.created"]
    finally:
        second.stop()


def test_deliveries_can_be_doubled_dropped_held_and_replayed(delivering: Emulator, listener: Listener) -> None:
    delivering.control("/deliveries", {"mode": "duplicate"})
    delivering.v1.products.create({"name": "Twice"})
    wait_for(lambda: listener.types() == ["product.created"] * 2)

    delivering.control("/deliveries", {"mode": "drop"})
    dropped = delivering.v1.customers.create({})
    wait_for(lambda: delivering.control()["deliveries"].get("dropped") == 1)

    delivering.control("/deliveries", {"mode": "hold"})
    product = delivering.v1.products.create({"name": "Held"})
    delivering.v1.products.update(product.id, {"name": "Held still"})
    delivering.control("/deliveries", {"mode": "normal"})
    delivering.control("/deliveries/release", {"order": "reverse"})
    wait_for(lambda: len(listener.bodies) == 4)
    assert listener.types()[2:] == ["product.updated", "product.created"]

    event = next(e for e in delivering.events() if e.data.object["id"] == dropped.id)
    delivering.control(f"/events/{event.id}/replay", {})
    wait_for(lambda: listener.types()[4:] == ["customer.created"])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/clock", {"advance": -1}),
        ("/clock", {"advance": "soon"}),
        ("/clock", {"to": 5}),
        ("/clock", []),
        ("/deliveries", {"mode": "sideways"}),
        ("/payments/fail", {"decline_code": "bored"}),
        ("/payments/fail", {"count": 10**9}),
        ("/nothing", {}),
        ("/events/evt_nobody/replay", {}),
    ],
)
def test_a_control_that_makes_no_sense_is_a_4xx(emulator: Emulator, path: str, body: Any) -> None:
    from urllib.error import HTTPError

    with pytest.raises(HTTPError) as caught:
        emulator.control(path, body)
    with caught.value as answer:
        assert 400 <= answer.code < 500
