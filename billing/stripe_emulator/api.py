"""One API call, from headers and body to status and JSON. Knows no sockets."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from billing.stripe_emulator import nouns  # noqa: F401  (fills the registry)
from billing.stripe_emulator.answers import render
from billing.stripe_emulator.contract.params import params_check
from billing.stripe_emulator.contract.routes import Route
from billing.stripe_emulator.contract.shapes import shape_problems
from billing.stripe_emulator.errors import StripeError
from billing.stripe_emulator.forms import form_decode, json_decode
from billing.stripe_emulator.nouns.meter_streams import STREAM, session_key
from billing.stripe_emulator.nouns.test_clocks import clocks_ready, clocks_run
from billing.stripe_emulator.registry import HANDLERS, Router
from billing.stripe_emulator.store import Obj
from billing.stripe_emulator.world import API_VERSION, DryRun, Request, World, new_id

KEY_PREFIX = "sk_test_"
log = logging.getLogger("stripe_emulator")


@dataclass(frozen=True)
class Answer:
    """What goes back."""

    status: int
    body: Obj
    headers: dict[str, str] = field(default_factory=dict)
    file: bytes | None = None


class Api:
    """Authenticates, checks, runs and remembers calls. `strict` also checks its own answers."""

    def __init__(self, world: World, *, strict: bool = False) -> None:
        self.world = world
        self.strict = strict
        self._router = Router()

    def call(self, method: str, path: str, query: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Answer one call; never raises."""
        request_id = new_id("req", 14)
        try:
            answer = self._call(method, path, query, body, headers, request_id)
        except StripeError as error:
            answer = Answer(error.status, error.body())
        except Exception:
            log.exception("%s %s failed", method, path)
            message = f"The local emulator failed on {method} {path}; its log has the reason."
            answer = Answer(500, {"error": {"message": message, "type": "api_error"}})
        if method != "GET":
            clocks_run(self.world)
        return Answer(
            answer.status,
            answer.body,
            {"Request-Id": request_id, "Stripe-Version": API_VERSION, **answer.headers},
            answer.file,
        )

    def _call(
        self, method: str, path: str, query: str, body: bytes, headers: Mapping[str, str], request_id: str
    ) -> Answer:
        key = session_key(self.world, headers) if path == STREAM else key_of(headers)
        found = self._router.match(method, path)
        if found is None:
            raise StripeError(
                f"Unrecognized request URL ({method}: {path[:200]}). Please see "
                "https://stripe.com/docs or we can help at https://support.stripe.com/.",
                status=404,
            )
        route, ids = found
        if (route.method, route.path) not in HANDLERS:
            raise StripeError(
                f"The local emulator does not know {method} {route.path} yet.", status=404, code="emulator_unsupported"
            )
        params = params_check(route.params, self._params(method, path.split("/")[1], query, body, headers))
        again = headers.get("Idempotency-Key") if method == "POST" else None
        if again is None:
            made = self._run(route, ids, params, Request(request_id), None)
            return Answer(200, {}, file=made["_file"]) if "_file" in made else Answer(200, made)
        return self._once(route, ids, params, Request(request_id, again), f"{_hash(key)}:{again}")

    @staticmethod
    def _params(method: str, version: str, query: str, body: bytes, headers: Mapping[str, str]) -> Obj:
        given = form_decode(query)
        if method == "POST" and body:
            kind = headers.get("Content-Type", "").split(";")[0].strip()
            if kind == "application/json" and version == "v2":
                return json_decode(body)
            if kind != "application/x-www-form-urlencoded":
                raise StripeError(
                    f"Invalid request (check that your POST content type is "
                    f"application/x-www-form-urlencoded); got {kind[:60]}."
                )
            try:
                given.update(form_decode(body.decode("utf-8")))
            except UnicodeDecodeError as error:
                raise StripeError("Invalid request body: not UTF-8.") from error
        return given

    def _once(self, route: Route, ids: tuple[str, ...], params: Obj, request: Request, name: str) -> Answer:
        if not 1 <= len(request.idempotency_key or "") <= 255:
            raise StripeError("An idempotency key has 1 to 255 characters.", type="idempotency_error")
        mark = _hash(json.dumps([route.method, route.path, ids, params], sort_keys=True, default=str))
        known = self.world.store.answer_of(name)
        if known is not None:
            if known[0] != mark:
                raise StripeError(
                    "Keys for idempotent requests can only be used with the same parameters they were first used "
                    f"with. Try using a key other than '{request.idempotency_key}' if you meant to execute a "
                    "different request.",
                    type="idempotency_error",
                )
            return Answer(known[1], json.loads(known[2]), {"Idempotent-Replayed": "true"})
        keep = _Keeper(self.world, name, mark)
        try:
            return Answer(200, self._run(route, ids, params, request, keep))
        except StripeError as error:
            if not error.keep:
                with self.world.store.transaction():
                    keep.note(error.status, error.body())
            raise

    def _run(self, route: Route, ids: tuple[str, ...], params: Obj, request: Request, keep: _Keeper | None) -> Obj:
        expand = params.pop("expand", None)
        about = [*ids, *_texts(params)]
        if route.method != "GET":
            clocks_ready(self.world, about)
        try:
            with self.world.in_time_of(about), self.world.transaction(request):
                try:
                    made = HANDLERS[(route.method, route.path)](self.world, params, *ids)
                    if "_file" in made:
                        return made
                    answer = self._checked(render(self.world, made, expand))
                except StripeError as error:
                    if keep is not None and error.keep:
                        keep.note(error.status, error.body())
                    raise
                if keep is not None:
                    keep.note(200, answer)
                return answer
        except DryRun as preview:
            return self._checked(preview.answer)

    def _checked(self, answer: Obj) -> Obj:
        problems = shape_problems(answer) if self.strict and answer else []
        if problems:
            raise AssertionError(f"the answer does not fit the SDK's types: {problems[:8]}")
        return answer


def _texts(value: Any) -> list[str]:
    """Every text in some parameters that may be an id."""
    if isinstance(value, dict):
        return [text for one in value.values() for text in _texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    return [value] if isinstance(value, str) and "_" in value and len(value) < 128 else []


class _Keeper:
    """Remembers the answer of an idempotent call."""

    def __init__(self, world: World, name: str, mark: str) -> None:
        self._world, self._name, self._mark = world, name, mark

    def note(self, status: int, body: Any) -> None:
        self._world.store.answer_put(self._name, self._mark, status, json.dumps(body), time.time())


def key_of(headers: Mapping[str, str]) -> str:
    """The test key of a call. Raises 401 without one, or with a key that is not a test key."""
    scheme, _, value = headers.get("Authorization", "").partition(" ")
    key = ""
    if scheme.lower() == "bearer":
        key = value.strip()
    elif scheme.lower() == "basic":
        try:
            key = base64.b64decode(value, validate=True).decode("ascii").partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            key = ""
    if not key:
        raise StripeError(
            "You did not provide an API key. You need to provide your API key in the Authorization header, using "
            "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
            status=401,
        )
    if not key.startswith(KEY_PREFIX) or len(key) <= len(KEY_PREFIX):
        shown = key[:8] + "*" * max(0, min(len(key) - 8, 20))
        raise StripeError(
            f"Invalid API Key provided: {shown}. The local emulator takes test keys (sk_test_...) only.",
            status=401,
            code="api_key_invalid",
        )
    return key


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
