"""Sends events to webhook endpoints: signed, retried, and unruly on demand.

Modes: `normal`; `hold` (nothing is sent until released); `duplicate` (everything
twice); `delay` (five seconds late); `reverse` (each batch newest first); `drop` (never sent, only logged).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import time

import aiohttp

from billing.stripe_emulator.nouns.thin_events import EVENT, as_sent
from billing.stripe_emulator.store import Delivery
from billing.stripe_emulator.world import World, public

MODES = ("normal", "hold", "delay", "duplicate", "reverse", "drop")
# Seconds before each further try. Stripe's own take hours; nobody waits that long at a desk.
RETRY_AFTER = (1, 3, 10, 30, 120, 600, 3600)
TIMEOUT = aiohttp.ClientTimeout(total=10)
log = logging.getLogger("stripe_emulator")


def signature(secret: str, body: bytes, moment: int) -> str:
    """The `Stripe-Signature` header: HMAC-SHA256 over `moment.body`, hex."""
    digest = hmac.new(secret.encode(), b"%d." % moment + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


class Courier:
    """Takes queued deliveries and brings them, until stopped."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._ring = asyncio.Event()

    def ring(self) -> None:
        """There may be something new."""
        self._ring.set()

    async def run(self) -> None:
        """Deliver for ever."""
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
            while True:
                try:
                    await self.round(session)
                except Exception:
                    log.exception("a delivery round failed")
                self._ring.clear()
                try:
                    await asyncio.wait_for(self._ring.wait(), 0.5)
                except TimeoutError:
                    continue

    async def round(self, session: aiohttp.ClientSession) -> None:
        """One pass over what is due."""
        due = self.world.store.deliveries("pending", time.time())
        mode = self.world.store.setting("deliveries_mode", "normal")
        if mode == "reverse":
            due.reverse()
        for delivery in due:
            if mode == "drop":
                self._move(delivery, "dropped", "dropped on request")
                continue
            for _ in range(2 if mode == "duplicate" else 1):
                answer, fine = await self._send(session, delivery)
            self._note(delivery, answer, fine)

    async def _send(self, session: aiohttp.ClientSession, delivery: Delivery) -> tuple[str, bool]:
        event = self.world.store.get(delivery.event)
        endpoint = self.world.store.get(delivery.endpoint)
        if event is None or endpoint is None or endpoint["status"] != "enabled":
            return "the endpoint is gone", True
        shown = public(event)
        body = json.dumps(as_sent(shown) if shown["object"] == EVENT else shown, indent=2).encode()
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": signature(endpoint.get("_secret") or endpoint["secret"], body, int(time.time())),
            "User-Agent": "Stripe/1.0 (local emulator)",
        }
        try:
            async with session.post(
                endpoint.get("_url") or endpoint["url"], data=body, headers=headers, allow_redirects=False
            ) as response:
                text = (await response.content.read(200)).decode("utf-8", "replace")
                return f"{response.status} {text}", 200 <= response.status < 300
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return f"{type(error).__name__}: {error}", False

    def _note(self, delivery: Delivery, answer: str, fine: bool) -> None:
        if fine:
            self._move(delivery, "delivered", answer)
        elif delivery.attempt < len(RETRY_AFTER):
            log.info("webhook %s not taken (%s), trying again", delivery.event, answer[:80])
            self._move(delivery, "pending", answer, RETRY_AFTER[delivery.attempt])
        else:
            log.warning("webhook %s given up: %s", delivery.event, answer[:80])
            self._move(delivery, "failed", answer)

    def _move(self, delivery: Delivery, state: str, answer: str, wait: int = 0) -> None:
        with self.world.store.transaction():
            self.world.store.delivery_move(
                delivery.id, state, attempt=delivery.attempt + 1, due=time.time() + wait, answer=answer[:300]
            )
