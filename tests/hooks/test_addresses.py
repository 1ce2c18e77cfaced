"""Where nothing is sent, whoever asks: each address is refused in words, and no packet leaves."""

import datetime as dt
import ipaddress
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hooks import sending
from hooks.addresses import is_public, place_of, resolve
from hooks.delivery import deliver_due
from hooks.errors import AddressRefused
from hooks.sending import MOST_BYTES, Answer, send
from tests.conftest import Cast
from tests.hooks.receiver import Raw, Receiver, happen, log, subscribe

PRIVATE = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1",
    "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::ffff:10.0.0.1", "::ffff:93.184.216.34", "::10.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::1", "100::1",
    "2001::1", "2001:db8::1", "2002:a00:1::1", "2002:5db8:d822::1", "3fff::1", "fc00::1", "fd00:ec2::254", "fe80::1",
    "fec0::1", "ff02::1", "5f00::1",
]  # fmt: skip
PUBLIC = ["93.184.216.34", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:2800:220:1::1", "2a00:1450:4001::1"]


@pytest.mark.parametrize("text", PRIVATE)
def test_an_address_that_is_not_on_the_open_internet_is_closed(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_an_address_on_the_open_internet_is_open(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@pytest.fixture
def no_packet(monkeypatch: pytest.MonkeyPatch, settings: Any) -> list[Any]:
    """Production's rules, and a socket that reports instead of connecting."""
    settings.HOOKS_ALLOW_LOCAL = False
    tried: list[Any] = []

    class Watched(socket.socket):
        def connect(self, address: Any) -> None:
            if self.family == socket.AF_UNIX:  # the house's own Redis
                return super().connect(address)
            tried.append(address)
            raise AssertionError("a packet would have left")

    monkeypatch.setattr(sending.socket, "socket", Watched)
    return tried


REFUSED = [
    "http://hooks.example.com/", "http://localhost/", "https://localhost/", "https://localhost./", "https://redis/",
    "https://127.0.0.1/", "https://[::1]/", "https://0/", "https://2130706433/", "https://0x7f.1/", "https://0x7f000001/",
    "https://017700000001/", "https://127.1/", "https://169.254.169.254/latest/meta-data", "https://[::ffff:10.0.0.1]/",
    "https://[fd00:ec2::254]/", "https://100.64.0.1/", "https://93.184.216.34/", "https://a.example.0x7f/",
    "https://user@hooks.example.com/", "https://user:word@hooks.example.com/", "https://@hooks.example.com/",
    "https://hooks.example.com@127.0.0.1/", "https://hooks.example.com\\@127.0.0.1/", "https://hooks.example.com:22/",
    "https://hooks.example.com:8080/", "https://hooks.example.com:0/", "https://hooks.example.com:99999/",
    "https://hooks.example.com:x/", "https://hooks.example.com./", "https://-a.example.com/", "https://a..example.com/",
    "https://①②⑦.⓪.⓪.①/", "https://bücher.example/", "https://example。com/", "https://hooks.example.com/a b",
    "https://hooks.example.com/\r\nX: y", "https://hooks.example.com/\x00", "gopher://hooks.example.com/",
    "file:///etc/passwd", "ftp://hooks.example.com/", "javascript:alert(1)", "//hooks.example.com/",
    "hooks.example.com",
    "https://", "https:///path", "https://[", "", "https://" + "a" * 64 + ".example.com/",
    "https://hooks.example.com/" + "a" * 1000,
]  # fmt: skip


@pytest.mark.parametrize("url", REFUSED, ids=range(len(REFUSED)))
def test_a_url_that_nothing_is_sent_to_is_refused_in_words_and_no_packet_leaves(url: str, no_packet: list[Any]) -> None:
    with pytest.raises(AddressRefused) as refused:
        place_of(url)
    assert refused.value.param == "url"
    assert str(refused.value)[-1] in ".X" and len(str(refused.value)) > 20
    answer = send(url, headers={}, body=b"{}")
    assert (answer.status, answer.blocked) == (None, True)
    assert no_packet == []


@pytest.mark.parametrize(
    "url", ["https://hooks.example.com", "https://HOOKS.example.com:8443/a?b=c#d", "https://xn--bcher-kva.example/"]
)
def test_a_url_of_a_public_host_is_read(url: str, settings: Any) -> None:
    settings.HOOKS_ALLOW_LOCAL = False
    place = place_of(url)
    assert place.tls and "#" not in place.target and place.target.startswith("/")


@pytest.mark.parametrize(
    "leads_to", [["10.0.0.1"], ["93.184.216.34", "10.0.0.1"], ["fd00::1"], ["::1"], ["169.254.169.254"]]
)
def test_a_name_that_leads_to_a_private_address_is_refused_when_made_and_blocked_when_sent(
    cast: Cast, receiver: Receiver, no_packet: list[Any], monkeypatch: pytest.MonkeyPatch, leads_to: list[str]
) -> None:
    _resolver(monkeypatch, leads_to)
    body = {"name": "x", "url": "https://rebind.example.com/", "event_types": ["fine_tuning.job.failed"]}
    answer = cast.owner.api.post("/v1/webhook_endpoints", body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "url")
    assert "not a public address" in answer.json()["error"]["message"]
    _resolver(monkeypatch, ["93.184.216.34"])
    made = subscribe(cast.owner, body["url"])
    _resolver(monkeypatch, leads_to)
    happen(cast.owner)
    assert deliver_due() == 1
    (seen,) = log(cast.owner, made)
    assert (seen["state"], seen["tries"][0]["status_code"]) == ("blocked", None)
    assert "Nothing was sent" in seen["tries"][0]["error"]
    assert no_packet == []


def _resolver(monkeypatch: pytest.MonkeyPatch, addresses: list[str]) -> None:
    found = [(socket.AF_INET6 if ":" in one else socket.AF_INET, 1, 6, "", (one, 443)) for one in addresses]
    monkeypatch.setattr("hooks.addresses.socket.getaddrinfo", lambda *args, **options: found)


def test_the_address_that_was_checked_is_the_one_connected_to(
    monkeypatch: pytest.MonkeyPatch, no_packet: list[Any]
) -> None:
    asked: list[int] = []

    def twice(*args: Any, **options: Any) -> Any:
        asked.append(1)
        return [(socket.AF_INET, 1, 6, "", ("93.184.216.34" if len(asked) == 1 else "127.0.0.1", 443))]

    monkeypatch.setattr("hooks.addresses.socket.getaddrinfo", twice)
    with pytest.raises(AssertionError):
        send("https://rebind.example.com/", headers={}, body=b"{}")
    assert (no_packet, len(asked)) == ([("93.184.216.34", 443)], 1)


def test_a_name_nobody_knows_is_refused_when_made_and_a_failure_when_sent(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, no_packet: list[Any]
) -> None:
    def unknown(*args: Any, **options: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr("hooks.addresses.socket.getaddrinfo", unknown)
    body = {"name": "x", "url": "https://typo.example.com/", "event_types": ["fine_tuning.job.failed"]}
    answer = cast.owner.api.post("/v1/webhook_endpoints", body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "url")
    assert "does not resolve" in answer.json()["error"]["message"]
    assert send(body["url"], headers={}, body=b"{}").error == "Its host name does not resolve."


def test_a_resolver_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch, no_packet: list[Any]) -> None:
    freed = threading.Event()
    monkeypatch.setattr("hooks.addresses.socket.getaddrinfo", lambda *args, **options: freed.wait(20) and [])
    began = time.monotonic()
    answer = send("https://slow.example.com/", headers={}, body=b"{}", seconds=0.3)
    freed.set()
    assert answer.timed_out and time.monotonic() - began < 3


def test_proxies_of_the_environment_are_not_asked(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert send(receiver.url, headers={}, body=b"{}").status == 204


def test_local_receivers_are_for_development_alone(receiver: Receiver, settings: Any) -> None:
    assert send(receiver.url, headers={}, body=b"{}").arrived
    settings.HOOKS_ALLOW_LOCAL = False
    assert send(receiver.url, headers={}, body=b"{}").blocked
    assert len(receiver.taken) == 1


def test_even_in_development_a_local_name_must_lead_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    _resolver(monkeypatch, ["10.0.0.1"])
    with pytest.raises(AddressRefused):
        resolve(place_of("http://localhost:8000/"))


# ── Slow, huge and broken servers ────────────────────────────────────────────


def drip(sock: socket.socket) -> None:
    """A byte now and then."""
    for sign in b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" * 100:
        sock.sendall(bytes([sign]))
        time.sleep(0.2)


def test_a_server_that_drips_is_cut_off_at_the_deadline() -> None:
    raw = Raw(drip)
    began = time.monotonic()
    answer = send(raw.url, headers={}, body=b"{}", seconds=1.0)
    raw.close()
    assert answer.timed_out and 0.9 < time.monotonic() - began < 5, "of thirteen minutes"
    assert answer.error == "No answer within 1 seconds."


def test_a_body_that_drips_after_a_good_status_is_still_a_delivery() -> None:
    def talk(sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nwell")
        time.sleep(3)

    raw = Raw(talk)
    answer = send(raw.url, headers={}, body=b"{}", seconds=0.5)
    raw.close()
    assert answer.arrived and answer.excerpt in ("well", "")


def test_an_answer_without_end_is_cut_and_only_its_beginning_kept() -> None:
    sent = [0]

    def talk(sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 500 No\r\n\r\n")
        while True:
            sent[0] += sock.send(b"x" * 65536)

    raw = Raw(talk)
    answer = send(raw.url, headers={}, body=b"{}", seconds=10)
    time.sleep(0.2)
    raw.close()
    assert (answer.status, len(answer.excerpt)) == (500, 1000)
    assert sent[0] < 100 * MOST_BYTES, "the rest was not waited for"
    assert answer.ms < 5000


@pytest.mark.parametrize(
    "said",
    [
        b"", b"\x00" * 2000, b"nonsense\r\n\r\n", b"HTTP/1.1 abc OK\r\n\r\n", b"HTTP/1.1 99999 OK\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 9000, b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 500 + b"\r\n",
    ],
    ids=range(8),
)  # fmt: skip
def test_what_is_no_http_is_a_failure_with_words(said: bytes) -> None:
    raw = Raw(lambda sock: sock.sendall(said))
    answer = send(raw.url, headers={}, body=b"{}", seconds=5)
    raw.close()
    assert (answer.status, answer.error) == (None, "The connection ended without an answer in HTTP.")


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nwell",
        b"HTTP/1.1 200 OK\r\nContent-Length: nine\r\n\r\nwell",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nwell",
        b"HTTP/1.1 299 Odd\r\n\r\n\xff\xfe\x00\x1b[31m",
    ],
)
def test_a_good_status_with_a_broken_body_is_a_delivery(said: bytes) -> None:
    raw = Raw(lambda sock: sock.sendall(said))
    answer = send(raw.url, headers={}, body=b"{}", seconds=5)
    raw.close()
    assert answer.arrived
    assert "\x00" not in answer.excerpt and "\x1b" not in answer.excerpt


def test_a_closed_port_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    assert send(f"http://127.0.0.1:{port}/", headers={}, body=b"{}").error == "The connection was refused."


def test_an_excerpt_of_a_hostile_answer_is_kept_as_text(cast: Cast, receiver: Receiver) -> None:
    receiver.answer = lambda taken: (500, {}, b"\x00\xff<script>" + b"z" * 100_000)
    made = subscribe(cast.owner, receiver.url)
    happen(cast.owner)
    deliver_due()
    said = log(cast.owner, made)[0]["tries"][0]["response"]
    assert len(said) == 1000 and "\x00" not in said and "<script>" in said


# ── Certificates ─────────────────────────────────────────────────────────────


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for a name, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    moment = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - dt.timedelta(days=1))
        .not_valid_after(moment + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert, private = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert, private


def over_tls(folder: Path, name: str) -> tuple[int, Path, list[str | None]]:
    """A server with a certificate for a name: its port, the certificate, and the names it was asked for."""
    cert, private = certificate(folder, name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, private)
    asked: list[str | None] = []
    context.sni_callback = lambda sock, host, ctx: asked.append(host)  # type: ignore[assignment]
    listening = socket.create_server(("127.0.0.1", 0))

    def work() -> None:
        while True:
            sock, _ = listening.accept()
            try:
                with context.wrap_socket(sock, server_side=True) as safe:
                    asked.append(safe.recv(65536).decode())
                    safe.sendall(b"HTTP/1.1 204 No\r\n\r\n")
            except OSError:
                continue

    threading.Thread(target=work, daemon=True).start()
    return listening.getsockname()[1], cert, asked


def test_a_certificate_nobody_vouches_for_is_not_accepted(tmp_path: Path) -> None:
    port, _, asked = over_tls(tmp_path, "localhost")
    answer = send(f"https://localhost:{port}/", headers={}, body=b'{"secret": 1}')
    assert answer.status is None and answer.error.startswith("Its certificate was not accepted")
    assert asked == ["localhost"], "nothing was sent"


@pytest.mark.parametrize(("name", "arrives"), [("localhost", True), ("other.example.com", False)])
def test_a_certificate_must_be_for_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, arrives: bool
) -> None:
    port, cert, asked = over_tls(tmp_path, name)
    trust = ssl.create_default_context(cafile=str(cert))
    monkeypatch.setattr(sending, "_trust", lambda: trust)
    answer: Answer = send(f"https://localhost:{port}/a?b=c", headers={"webhook-id": "evt_1"}, body=b"{}")
    assert answer.arrived is arrives, answer
    assert asked[0] == "localhost"
    if arrives:
        head = str(asked[1])
        assert head.startswith("POST /a?b=c HTTP/1.1\r\n") and f"Host: localhost:{port}\r\n" in head
        assert "webhook-id: evt_1\r\n" in head
