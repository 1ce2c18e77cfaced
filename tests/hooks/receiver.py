"""A server on this machine that takes webhooks, and behaves as a test tells it; and what tests do with it."""

import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import openai

from hooks.models import Delivery, Endpoint
from kit.clock import now
from kit.ids import parse_id
from tenants.scope import ops_scope, tenant_scope
from tests.conftest import Person

FAILED = "fine_tuning.job.failed"
SUCCEEDED = "fine_tuning.job.succeeded"


@dataclass
class Taken:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        """The body read."""
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class Receiver:
    """Takes requests; `answer` says what each gets: (status, headers, body)."""

    port: int = 0
    taken: list[Taken] = field(default_factory=list)
    answer: Callable[[Taken], tuple[int, dict[str, str], bytes]] = lambda taken: (204, {}, b"")

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/hook"

    def says(self, status: int, **headers: str) -> None:
        """The same to everybody."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answer = lambda taken: (status, named, b"said so")


def serve(receiver: Receiver) -> ThreadingHTTPServer:
    """Start it; `shutdown` and `server_close` end it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken = Taken(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            receiver.taken.append(taken)
            status, headers, said = receiver.answer(taken)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(said)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *words: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.port = server.server_port
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


class Raw:
    """A server that says whatever bytes it likes, and no HTTP unless `talk` writes some."""

    def __init__(self, talk: Callable[[socket.socket], None]) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/"
        self._talk = talk
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            with sock:
                try:
                    sock.recv(65536)
                    self._talk(sock)
                except OSError:
                    continue

    def close(self) -> None:
        """Stop listening."""
        self._listening.close()


def subscribe(person: Person, url: str, *types: str, name: str = "bot") -> dict[str, Any]:
    """An endpoint made through the API, as it was answered."""
    body = {"name": name, "url": url, "event_types": list(types or (FAILED,))}
    answer = person.api.post("/v1/webhook_endpoints", body)
    assert answer.status_code == 200, answer.content
    made: dict[str, Any] = answer.json()
    return made


def happen(person: Person, kind: str = FAILED, identifier: str = "ftjob-1") -> str:
    """Announce something; returns the event's id."""
    from hooks.services import event_publish

    with tenant_scope(person.tenant.id):
        return str(event_publish(project_id=person.project.id, type=kind, data={"id": identifier}).public_id)


def log(person: Person, endpoint: dict[str, Any]) -> list[dict[str, Any]]:
    """The deliveries as the API tells them, newest first."""
    found: list[dict[str, Any]] = person.api.get(f"/v1/webhook_endpoints/{endpoint['id']}/deliveries").json()["data"]
    return found


def row_of(person: Person, endpoint: dict[str, Any]) -> Endpoint:
    """The endpoint as the database has it."""
    with tenant_scope(person.tenant.id):
        found: Endpoint = Endpoint.objects.get(pk=parse_id(Endpoint.prefix, endpoint["id"]))
        return found


def change(person: Person, endpoint: dict[str, Any], **values: Any) -> None:
    """Move an endpoint in time."""
    with tenant_scope(person.tenant.id):
        Endpoint.objects.filter(pk=parse_id(Endpoint.prefix, endpoint["id"])).update(**values)


def bring_forward(person: Person) -> None:
    """What waits for a later moment is due now, and nobody rests."""
    with tenant_scope(person.tenant.id):
        Delivery.objects.filter(state=Delivery.State.PENDING).update(next_at=now())
        Endpoint.objects.update(resting_until=None)


def nothing_waits() -> None:
    """No delivery of another test is due: a run asks every tenant there is."""
    with ops_scope("start a test with nothing to deliver"):
        Delivery.ops.filter(state=Delivery.State.PENDING).update(state=Delivery.State.FAILED, next_at=None)


def unwrap(taken: Taken, secret: str) -> Any:
    """What the official client makes of a delivery."""
    return openai.OpenAI(api_key="none", webhook_secret=secret).webhooks.unwrap(taken.body, taken.headers)
