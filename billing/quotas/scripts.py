"""The Lua scripts, and how one connection gets to run them.

The text of a script carries the `run_id` of the server it is loaded into, so its digest differs for each life of the
server. A connection therefore asks for the run id and loads the scripts itself, on that same connection, before the
first call: a restarted server never runs a script that trusts leases of an earlier life.
"""

from __future__ import annotations

from pathlib import Path

NAMES = ("reserve", "extend", "settle", "grant", "drain", "inspect", "declare")
HOLD_MS = 3_000
"""How long a server that lost what it knew admits nothing under a limit of calls at once: longer than a process needs
to notice the loss and to have heard what became of a reserve it had sent before (`recount`)."""
SLOWED = 10
"""For so many a call counts against rates of requests once a soft cap is reached."""
_FOLDER = Path(__file__).parent / "lua"
_PRELUDE = (_FOLDER / "prelude.lua").read_text()
_BODIES = {name: (_FOLDER / f"{name}.lua").read_text() for name in NAMES}


def script_text(name: str, run_id: str) -> str:
    """Source of a script for the server life `run_id`."""
    text = _PRELUDE.replace("@BOOT@", run_id).replace("@HOLD@", str(HOLD_MS)) + _BODIES[name]
    return text.replace("@SLOWED@", str(SLOWED))


def run_id_of(info: bytes) -> str:
    """The run id in an `INFO server` answer."""
    for line in info.splitlines():
        if line.startswith(b"run_id:"):
            return line[7:].decode()
    raise ValueError("INFO server names no run_id")
