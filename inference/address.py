"""Where an engine listens: `unix:/path/to/socket` or `host:port` (also written `unix:///path` and `tcp://host:port`)."""

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
        if text.startswith("unix:"):
            path = text.removeprefix("unix:").removeprefix("//")
            if path.startswith("/"):
                return cls(path=path)
        host, _, port = text.removeprefix("tcp://").rpartition(":")
        if host and "/" not in host and port.isdigit() and int(port) < 65536:
            return cls(host=host.strip("[]"), port=int(port))
        raise ValueError(f"Bad engine address {text!r}: write host:port or unix:/path/to/socket.")

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"{self.host}:{self.port}"
