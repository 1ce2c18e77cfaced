"""One POST to a stranger's server, who may be slow, huge, broken or hostile.

A socket of our own to the address that was checked: nothing is looked up twice, no redirect followed, no proxy of the
environment used. One deadline for everything, from the look-up to the last byte, and one limit of bytes, head included.
"""

import email.utils
import functools
import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass

from hooks.addresses import Address, Place, place_of, resolve
from hooks.errors import AddressRefused
from hooks.models import EXCERPT

SECONDS = 15.0
MOST_BYTES = 64 * 1024
TRIED = 3
"""Addresses of one name that are tried for a connection."""
LONGEST_WAIT = 86_400.0
AGENT = "Tunesmith-Webhooks/1.0"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it. `status` is None where there was no HTTP answer; `error` says why, and is empty for a 2xx."""

    status: int | None = None
    error: str = ""
    excerpt: str = ""
    ms: int = 0
    retry_after: float | None = None
    """Seconds it asked us to wait."""
    timed_out: bool = False
    blocked: bool = False
    """The address is not one we send to; nothing was sent."""

    @property
    def arrived(self) -> bool:
        """Whether it took the event."""
        return self.status is not None and 200 <= self.status < 300


def send(url: str, *, headers: Mapping[str, str], body: bytes, seconds: float = SECONDS) -> Answer:
    """POST the body; never raises for what the other side does. Blocks up to `seconds`, and touches no database."""
    began = time.monotonic()
    timed_out = blocked = False
    try:
        return _exchange(place_of(url), headers, body, began, began + seconds)
    except AddressRefused as error:
        words, blocked = error.message, True
    except TimeoutError:
        words, timed_out = f"No answer within {seconds:.0f} seconds.", True
    except ssl.SSLCertVerificationError as error:
        words = f"Its certificate was not accepted: {error.verify_message}."
    except ssl.SSLError:
        words = "No encrypted connection could be made."
    except socket.gaierror:
        words = "Its host name does not resolve."
    except ConnectionRefusedError:
        words = "The connection was refused."
    except (OSError, http.client.HTTPException, ValueError):
        words = "The connection ended without an answer in HTTP."
    return Answer(error=words[:300], ms=_since(began), timed_out=timed_out, blocked=blocked)


def _exchange(place: Place, headers: Mapping[str, str], body: bytes, began: float, deadline: float) -> Answer:
    addresses = resolve(place, seconds=_left(deadline))
    with _connected(place, addresses, deadline) as sock:
        connection = http.client.HTTPConnection(place.host, place.port)
        connection.sock = _Bounded(sock, deadline)
        connection.putrequest("POST", place.target, skip_host=True, skip_accept_encoding=True)
        every = {
            "Host": place.authority,
            "User-Agent": AGENT,
            "Content-Type": "application/json",
            "Connection": "close",
        }
        for name, value in {**every, "Content-Length": str(len(body)), **headers}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        excerpt = _excerpt(response)
        return Answer(
            status=response.status,
            error=_words(response.status),
            excerpt=excerpt,
            ms=_since(began),
            retry_after=_wait(response.getheader("Retry-After")),
        )


def _connected(place: Place, addresses: list[Address], deadline: float) -> socket.socket:
    """A connection to the first address that takes one, with its certificate checked for the name."""
    tried = addresses[:TRIED]
    for position, address in enumerate(tried, 1):
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(_left(deadline) / (len(tried) - position + 1))
            sock.connect((str(address), place.port))
        except OSError:
            sock.close()
            if position == len(tried):
                raise
            continue
        try:
            sock.settimeout(_left(deadline))
            return _trust().wrap_socket(sock, server_hostname=place.host) if place.tls else sock
        except BaseException:
            sock.close()
            raise
    raise OSError("no address")


@functools.cache
def _trust() -> ssl.SSLContext:
    """The system's certificate authorities, and a name that must fit; read once."""
    return ssl.create_default_context()


class _Bounded:
    """A socket that ends at the deadline however slowly bytes drip, and after so many bytes however many come."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self.sock, self.deadline, self.room = sock, deadline, MOST_BYTES
        self._said = b""

    def makefile(self, mode: str) -> io.BufferedReader:
        """What `http.client` reads from, once it has said everything."""
        self.sock.settimeout(_left(self.deadline))
        self.sock.sendall(self._said)
        return io.BufferedReader(_Reader(self))

    def sendall(self, data: bytes) -> None:
        """Kept until the request is whole. Head and body leave in one piece: a server that answers after the head and
        closes would else reset the connection, and its answer be lost."""
        self._said += data

    def close(self) -> None:
        """Nothing yet: `http.client` closes its side before the body is read; the caller closes the socket."""


class _Reader(io.RawIOBase):
    def __init__(self, bounded: _Bounded) -> None:
        self._bounded = bounded

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview[int]") -> int:  # type: ignore[override]
        wanted = min(len(buffer), self._bounded.room)
        if not wanted:
            return 0
        self._bounded.sock.settimeout(_left(self._bounded.deadline))
        read = self._bounded.sock.recv_into(buffer[:wanted])
        self._bounded.room -= read
        return read


def _excerpt(response: http.client.HTTPResponse) -> str:
    """The beginning of the body as text. The status has been said: what is wrong with the body changes nothing."""
    kept = b""
    try:
        while chunk := response.read(4096):
            kept = kept if len(kept) >= EXCERPT else kept + chunk
    except http.client.IncompleteRead as error:
        kept += error.partial
    except (OSError, http.client.HTTPException, ValueError):
        pass
    text = kept[:EXCERPT].decode("utf-8", "replace")
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "\ufffd" for sign in text)[:EXCERPT]


def _words(status: int) -> str:
    if 200 <= status < 300:
        return ""
    if 300 <= status < 400:
        return f"It answered {status}. Redirects are not followed: enter the final URL."
    return f"It answered {status}."


def _wait(header: str | None) -> float | None:
    """Seconds of a Retry-After, which is a number or a date; None for anything else. A day at most."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), LONGEST_WAIT)
    try:
        moment = email.utils.parsedate_to_datetime(text)
        return min(max(0.0, moment.timestamp() - time.time()), LONGEST_WAIT)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _since(began: float) -> int:
    return int((time.monotonic() - began) * 1000)
