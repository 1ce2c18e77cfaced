"""The front page, its switches, and the pages of what the emulator holds."""

import http.server
import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.billing.emulated import SECRET, Emulator, wait_for


@pytest.fixture(scope="module")
def hooks() -> Iterator[tuple[str, list[str]]]:
    """A webhook endpoint, and the event types it got."""
    got: list[str] = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append(json.loads(body)["type"])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<i>taken</i>")

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/", got
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, hooks: tuple[str, list[str]]) -> Iterator[Emulator]:
    """An emulator whose events go to the endpoint."""
    options = ("--webhook-url", hooks[0], "--webhook-secret", SECRET)
    running = Emulator(tmp_path_factory.mktemp("shown"), *options)
    yield running
    running.stop()


def see(emulator: Emulator, path: str) -> str:
    status, text, _ = emulator.page(emulator.url + path)
    assert status == 200, text
    return text


def press(emulator: Emulator, deed: str, **form: str) -> str:
    status, text, headers = emulator.page(f"{emulator.url}/control/{deed}", form)
    assert status == 303, text
    return headers["Location"]


def test_kinds_lead_to_lists_and_lists_to_objects(shown: Emulator) -> None:
    subscription = shown.subscribe()
    assert 'href="/objects/subscription"' in see(shown, "/")
    listed = see(shown, "/objects/subscription")
    assert f'href="/objects/subscription/{subscription.id}"' in listed
    one = see(shown, f"/objects/subscription/{subscription.id}")
    assert "&quot;status&quot;: &quot;active&quot;" in one
    assert f'<a href="/objects/customer/{subscription.customer}">' in one
    assert "customer.subscription.created" in one
    assert "_warned" not in one


def test_an_object_shows_what_became_of_its_events(shown: Emulator) -> None:
    customer = shown.v1.customers.create({"name": "<b>Ada</b>"})
    path = f"/objects/customer/{customer.id}"
    wait_for(lambda: "delivered after 1 try" in see(shown, path))
    text = see(shown, path)
    assert "200 &lt;i&gt;taken&lt;/i&gt;" in text
    assert "<b>Ada" not in text


def test_a_long_list_has_pages(shown: Emulator) -> None:
    for _ in range(60):
        shown.v1.customers.create({})
    first = see(shown, "/objects/customer")
    more = re.search(r'href="(/objects/customer\?after=[^"]+)"', first)
    assert more
    older = see(shown, more[1])
    names = [set(re.findall(r"<code>(cus_\w+)</code>", text)) for text in (first, older)]
    assert len(names[0]) == 50
    assert not names[0] & names[1]


def test_secrets_are_not_shown(shown: Emulator) -> None:
    endpoint = shown.v1.webhook_endpoints.list().data[0]
    text = see(shown, f"/objects/webhook_endpoint/{endpoint.id}")
    assert SECRET not in text
    assert "***" in text


def test_buttons_move_the_clock_and_refuse_payments(shown: Emulator) -> None:
    before = shown.control()["now"]
    assert press(shown, "clock", advance="3600") == "/"
    assert shown.control()["now"] >= before + 3600
    press(shown, "decline", decline_code="insufficient_funds", count="2")
    assert shown.control()["planned_refusals"] == ["insufficient_funds"] * 2
    assert "Refusals waiting: 2" in see(shown, "/")
    assert shown.subscribe().status == "incomplete"
    assert shown.subscribe().status == "incomplete"
    press(shown, "dunning", end="unpaid")
    assert shown.control()["dunning_end"] == "unpaid"
    press(shown, "dunning", end="canceled")


def test_buttons_hold_release_double_delay_and_repeat_events(shown: Emulator, hooks: tuple[str, list[str]]) -> None:
    _, got = hooks
    press(shown, "mode", mode="hold")
    product = shown.v1.products.create({"name": "Held"})
    assert wait_for(lambda: shown.control()["deliveries"].get("held"))
    got.clear()
    press(shown, "release", order="reverse")
    wait_for(lambda: "product.created" in got)
    press(shown, "mode", mode="duplicate")
    got.clear()
    shown.v1.products.update(product.id, {"name": "Twice"})
    wait_for(lambda: got.count("product.updated") == 2)
    press(shown, "mode", mode="delay")
    got.clear()
    shown.v1.products.update(product.id, {"name": "Late"})
    start = time.monotonic()
    wait_for(lambda: "product.updated" in got)
    assert time.monotonic() - start > 4
    press(shown, "mode", mode="normal")
    event = shown.v1.events.list({"type": "product.created"}).data[0]
    got.clear()
    back = f"/objects/event/{event.id}"
    assert "Deliver it again" in see(shown, back)
    assert press(shown, "replay", event=event.id, back=back) == back
    wait_for(lambda: got == ["product.created"])


def test_buttons_dispute_and_confirm(shown: Emulator) -> None:
    intent = shown.v1.payment_intents.create(
        {"amount": 900, "currency": "usd", "payment_method": "pm_card_authenticationRequired", "confirm": True}
    )
    assert "Fail authentication" in see(shown, f"/objects/payment_intent/{intent.id}")
    press(shown, "authentication", intent=intent.id, outcome="complete")
    charge = str(shown.v1.payment_intents.retrieve(intent.id).latest_charge)
    assert "Open a dispute" in see(shown, f"/objects/charge/{charge}")
    press(shown, "dispute", charge=charge, reason="duplicate")
    dispute = shown.v1.disputes.list({"charge": charge}).data[0]
    assert dispute.reason == "duplicate"
    press(shown, "verdict", dispute=dispute.id, status="won", back=f"/objects/dispute/{dispute.id}")
    assert shown.v1.disputes.retrieve(dispute.id).status == "won"


def test_a_button_advances_a_test_clock(shown: Emulator) -> None:
    clock = shown.v1.test_helpers.test_clocks.create({"frozen_time": 1_800_000_000})
    path = f"/objects/test_helpers.test_clock/{clock.id}"
    assert "Advance this clock" in see(shown, path)
    assert press(shown, "testclock", clock=clock.id, advance="86400", back=path) == path
    assert shown.v1.test_helpers.test_clocks.retrieve(clock.id).frozen_time == 1_800_086_400
    assert "test_helpers.test_clock.ready" in see(shown, path)


def test_lists_show_sums_with_their_currency_and_lead_to_the_customer(shown: Emulator) -> None:
    subscription = shown.subscribe(123456)
    listed = see(shown, "/objects/invoice")
    assert "$1,234.56" in listed
    assert f'href="/objects/customer/{subscription.customer}"' in listed
    one = see(shown, f"/objects/invoice/{subscription.latest_invoice}")
    assert f"/i/{subscription.latest_invoice}/pdf" in one


def test_a_thin_event_goes_to_the_destinations_of_its_type(shown: Emulator, hooks: tuple[str, list[str]]) -> None:
    url, got = hooks
    kind = "v1.billing.meter.no_meter_found"
    destination = shown.client.v2.core.event_destinations.create(
        {
            "name": "Meters",
            "type": "webhook_endpoint",
            "event_payload": "thin",
            "enabled_events": [kind],
            "webhook_endpoint": {"url": url},
            "include": ["webhook_endpoint.signing_secret"],
        }
    )
    assert destination.webhook_endpoint is not None
    assert str(destination.webhook_endpoint.signing_secret).startswith("whsec_")
    got.clear()
    event = {"event_name": "nobodys", "payload": {"stripe_customer_id": "cus_x", "value": "1"}}
    shown.v1.billing.meter_events.create(event)
    wait_for(lambda: kind in got)
    wait_for(lambda: "delivered after 1 try" in see(shown, "/objects/v2.core.event/" + newest(shown)))
    # The endpoint of the command line wants every snapshot, and no thin event.
    assert got.count(kind) == 1
    shown.control(f"/events/{newest(shown)}/replay", {})
    wait_for(lambda: got.count(kind) == 2)
    shown.client.v2.core.event_destinations.delete(destination.id)
    shown.v1.billing.meter_events.create(event)
    assert "nobody listened" in see(shown, "/objects/v2.core.event/" + newest(shown))


def newest(shown: Emulator) -> str:
    found = re.search(r"/objects/v2\.core\.event/(\w+)", see(shown, "/objects/v2.core.event"))
    assert found
    return found[1]


@pytest.mark.parametrize(
    ("deed", "form"),
    [
        ("clock", {"advance": "soon"}),
        ("testclock", {"clock": "clock_nobody", "advance": "60"}),
        ("clock", {"advance": "-5"}),
        ("clock", {"advance": "999999999999"}),
        ("decline", {"decline_code": "mood", "count": "1"}),
        ("mode", {"mode": "chaos"}),
        ("release", {"order": "random"}),
        ("dunning", {}),
        ("replay", {"event": "../../clock"}),
        ("dispute", {"charge": "ch_nobody"}),
        ("verdict", {"dispute": "du_nobody", "status": "won"}),
        ("authentication", {"intent": "pi_nobody", "outcome": "complete"}),
    ],
)
def test_a_button_with_nonsense_says_so(shown: Emulator, deed: str, form: dict[str, str]) -> None:
    status, text, _ = shown.page(f"{shown.url}/control/{deed}", form)
    assert status in (400, 404)
    assert "That did not work" in text


@pytest.mark.parametrize("back", ["https://evil.example/", "//evil.example", "/objects/../../x", "javascript:1"])
def test_a_button_leads_back_to_this_server_only(shown: Emulator, back: str) -> None:
    assert press(shown, "mode", mode="normal", back=back) == "/"


def test_another_sites_page_cannot_press_a_button(shown: Emulator) -> None:
    request = urllib.request.Request(
        f"{shown.url}/control/clock", data=b"advance=3600", headers={"Sec-Fetch-Site": "cross-site"}
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    with caught.value as answer:
        assert answer.code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/objects/nothing",
        "/objects/customer/cus_nobody",
        "/objects/customer?after=cus_nobody",
        "/control/clock",
        "/control/nothing",
    ],
)
def test_what_is_not_there_is_404(shown: Emulator, path: str) -> None:
    assert shown.page(shown.url + path)[0] == 404
