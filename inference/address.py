"""Where an engine listens: `tcp://host:port` or `unix:///path/to/socket`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed address; `path` is set for Unix sockets, `host` and `port` for TCP."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address. Raises `ValueError` with the expected forms."""
        scheme, _, rest = text.partition("://")
        if scheme == "unix" and rest.startswith("/"):
            return cls(path=rest)
        host, _, port = rest.rpartition(":")
        if scheme == "tcp" and host and port.isdigit() and int(port) < 65536:
            return cls(host=host.strip("[]"), port=int(port))
        raise ValueError(f"Bad engine address {text!r}: write tcp://host:port or unix:///path/to/socket.")

    def __str__(self) -> str:
        return f"unix://{self.path}" if self.path else f"tcp://{self.host}:{self.port}"
