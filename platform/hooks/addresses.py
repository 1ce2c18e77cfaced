"""Where we send to: https to a public host, by a name that is resolved once and connected to as resolved.

Checked when an endpoint is made and again at each try: a name may have come to mean another address since. The answer
of the resolver is what is connected to, so no second look-up can say otherwise.
"""

import ipaddress
import re
import socket
import threading
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings

from hooks.errors import AddressRefused

PORTS = (443, 8443)
LONGEST = 1000
LOOKUP_SECONDS = 5.0
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PRINTABLE = re.compile(r"[!-~]+")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

CLOSED_4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carriers' NAT
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, where clouds keep credentials
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # examples
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # examples
        "203.0.113.0/24",  # examples
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
OPEN_6 = ipaddress.IPv6Network("2000::/3")
"""All of the public IPv6 internet; what embeds an IPv4 address in it is closed below, all else lies outside of it."""
CLOSED_6 = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # examples
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # examples
    )
)


@dataclass(frozen=True, slots=True)
class Place:
    """A URL that was read and may be tried."""

    tls: bool
    host: str
    port: int
    target: str
    """Path and query."""

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    @property
    def local(self) -> bool:
        """Whether it is the developer's own machine, and that is allowed."""
        return bool(settings.HOOKS_ALLOW_LOCAL) and self.host in LOOPBACK


def host_of(url: str) -> str:
    """The part of a checked URL that may stand in a log: many an address is a secret in itself."""
    return urlsplit(url).hostname or ""


def place_of(url: str) -> Place:
    """Read a URL; asks nobody. AddressRefused in words where it is not one we send to."""
    if len(url) > LONGEST or not _PRINTABLE.fullmatch(url):
        raise AddressRefused(
            f"A URL has 1 to {LONGEST:,} characters of ASCII, without spaces. Write other letters of a host as xn--…, "
            "and of a path as %XX."
        )
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError as error:
        raise AddressRefused("This is no URL. It must look like https://hooks.example.com/tunesmith.") from error
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise AddressRefused("The URL holds a user name or password. Deliveries are signed instead; leave them out.")
    tls = parts.scheme == "https"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    place = Place(tls, host, port or (443 if tls else 80), target)
    if place.local and parts.scheme in ("http", "https") and port != 0:
        return place
    if not tls:
        raise AddressRefused("The URL must begin with https://. Nothing is sent unencrypted.")
    if port not in (None, *PORTS):
        raise AddressRefused(f"Port {port} is not one we send to. Use 443 or 8443.")
    _check_host(host)
    return place


def _check_host(host: str) -> None:
    labels = host.split(".")
    if ":" in host or _NUMBER.fullmatch(labels[-1]):
        raise AddressRefused("The URL names a host by its address. Use a public host name, which a certificate is for.")
    if len(labels) < 2 or len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise AddressRefused(
            f"“{host[:100]}” is not a public host name. Use one such as hooks.example.com, without a dot at its end."
        )


def resolve(place: Place, *, seconds: float = LOOKUP_SECONDS) -> list[Address]:
    """Its addresses, in the resolver's order. AddressRefused if any of them is not public; OSError where there are
    none, TimeoutError where nobody says so in time."""
    found = _lookup(place.host, place.port, seconds)
    for address in found:
        if not (address.is_loopback if place.local else is_public(address)):
            raise AddressRefused(
                f"“{place.host[:100]}” leads to {address}, which is not a public address. Nothing was sent."
            )
    return found


def is_public(address: Address) -> bool:
    """Whether it is a machine on the open internet, by lists of our own: the library's change between releases."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in CLOSED_4)
    return address in OPEN_6 and not any(address in network for network in CLOSED_6)


def url_look(url: str) -> None:
    """What a new URL must pass: readable, resolvable, public. For doors, outside transactions: it asks the resolver."""
    place = place_of(url)
    try:
        resolve(place)
    except OSError as error:  # a time-out is one
        raise AddressRefused(
            f"“{place.host[:100]}” does not resolve. Check its spelling, or try again once its DNS record is there."
        ) from error


def _lookup(host: str, port: int, seconds: float) -> list[Address]:
    """The system's resolver has no time limit of its own: a thread that is left behind is the limit."""
    answer: list[Address | OSError] = []

    def ask() -> None:
        try:
            for *_, sockaddr in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP):
                address = ipaddress.ip_address(str(sockaddr[0]).partition("%")[0])
                if address not in answer:
                    answer.append(address)
        except UnicodeError as error:
            answer.append(OSError(str(error)))
        except OSError as error:
            answer.append(error)

    asking = threading.Thread(target=ask, name="hooks-lookup", daemon=True)
    started = time.monotonic()
    asking.start()
    asking.join(seconds)
    if asking.is_alive():
        raise TimeoutError(f"no answer of the resolver after {time.monotonic() - started:.0f} s")
    failed = next((one for one in answer if isinstance(one, OSError)), None)
    if failed is not None or not answer:
        raise failed or OSError("no address")
    return [one for one in answer if not isinstance(one, OSError)]
