"""The least that can be called a gateway: raw ASGI, a digest of the key, one script on Redis, one hop by aiohttp.

The ceiling of `gateway.py`. It counts requests in one window and knows no tenants, scopes, prices, reservations or
usage events. UPSTREAM and REDIS_URL come from the environment.
"""

import hashlib
import json
import os

import aiohttp
import redis.asyncio

SCRIPT = """
local used = redis.call('INCR', KEYS[1])
if used == 1 then redis.call('PEXPIRE', KEYS[1], 60000) end
return used
"""
HEADERS = [(b"content-type", b"application/json")]
_store = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"])
_window = _store.register_script(SCRIPT)
_session = None


async def application(scope, receive, send):
    global _session
    if scope["type"] != "http":
        return
    if _session is None:
        _session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    if scope["method"] != "POST":
        await _answer(send, 200, b"{}")
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    json.loads(body)
    key = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    if int(await _window(keys=[b"raw:" + hashlib.sha256(key).digest()])) > 10**9:
        await _answer(send, 429, b"{}")
        return
    async with _session.post(os.environ["UPSTREAM"], data=body, headers={"content-type": "application/json"}) as found:
        answer = await found.read()
    json.loads(answer)["usage"]
    await _answer(send, 200, answer)


async def _answer(send, status, body):
    await send({"type": "http.response.start", "status": status, "headers": HEADERS})
    await send({"type": "http.response.body", "body": body})
