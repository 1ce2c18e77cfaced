"""`python -m billing.stripe_emulator --debug --port 12111 --data DIR [--webhook-url URL]`.

Secrets come from the environment (STRIPE_SECRET_KEY, STRIPE_WEBHOOK_SECRET) or from
flags. It refuses to start unless debug is on, and with a key that is not a test key.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import logging
import os
import signal
import sys
from pathlib import Path

from aiohttp import web

from billing.stripe_emulator.api import KEY_PREFIX
from billing.stripe_emulator.errors import StripeError
from billing.stripe_emulator.server import HOST, Server, endpoint_ensure
from billing.stripe_emulator.store import Store
from billing.stripe_emulator.world import World

OFF = {"0", "false", "no", "off"}
ON = {"1", "true", "yes", "on"}
REFUSED = 2


def main(argv: list[str] | None = None) -> int:
    """Check the set-up, then serve until a signal. Returns the exit status."""
    args = _arguments().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
    problem = _refusal(args)
    if problem:
        print(f"stripe emulator: {problem}", file=sys.stderr)  # noqa: T201
        return REFUSED
    data = Path(args.data)
    data.mkdir(parents=True, exist_ok=True)
    with open(data / "emulator.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print(f"stripe emulator: another one already uses {data}", file=sys.stderr)  # noqa: T201
            return REFUSED
        return asyncio.run(_serve(args, data))


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m billing.stripe_emulator", description=__doc__)
    parser.add_argument("--port", type=int, default=12111, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--data", required=True, help="folder for its memory")
    parser.add_argument("--public-url", default="", help="address of the hosted pages, if not the port's own")
    parser.add_argument("--webhook-url", default="", help="where to deliver events")
    parser.add_argument("--webhook-secret", default=os.environ.get("STRIPE_WEBHOOK_SECRET", ""))
    parser.add_argument("--api-key", default=os.environ.get("STRIPE_SECRET_KEY", ""))
    parser.add_argument("--debug", action="store_true", help="say that this is a development machine")
    parser.add_argument("--strict", action="store_true", help="fail on answers that the SDK's types do not allow")
    return parser


def _refusal(args: argparse.Namespace) -> str:
    said = os.environ.get("DEBUG", "").strip().lower()
    if said in OFF or not (args.debug or said in ON):
        return "it runs only on a development machine: pass --debug, and do not set DEBUG to off."
    if args.api_key and not args.api_key.startswith(KEY_PREFIX):
        return f"the Stripe key is not a test key ({KEY_PREFIX}...). Refusing to stand in for real money."
    if args.webhook_url and not args.webhook_secret:
        return "--webhook-url needs a secret: set STRIPE_WEBHOOK_SECRET or pass --webhook-secret."
    return ""


async def _serve(args: argparse.Namespace, data: Path) -> int:
    store = Store(data / "emulator.sqlite3")
    world = World(store, args.public_url or f"http://{HOST}:{args.port}")
    try:
        if args.webhook_url:
            endpoint_ensure(world, args.webhook_url, args.webhook_secret)
    except StripeError as error:
        print(f"stripe emulator: {error.message}", file=sys.stderr)  # noqa: T201
        return REFUSED
    runner = web.AppRunner(Server(world, strict=args.strict).application(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, HOST, args.port)
    try:
        await site.start()
    except OSError as error:
        print(f"stripe emulator: port {args.port} is taken ({error.strerror}).", file=sys.stderr)  # noqa: T201
        return REFUSED
    port = runner.addresses[0][1]
    if not args.public_url:
        world.public_url = f"http://{HOST}:{port}"
    print(f"stripe emulator: listening on http://{HOST}:{port}", flush=True)  # noqa: T201
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await runner.cleanup()
    store.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
