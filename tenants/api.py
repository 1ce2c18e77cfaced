"""The base of every key-authenticated API view: authenticate, check the scope, enter the tenant, answer."""

import contextlib
from collections.abc import Callable
from typing import Any, ClassVar

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from kit.amounts import called, places_in
from kit.api import StrictSerializer
from kit.errors import ApiError, MethodNotAllowed
from kit.http import client_ip
from kit.money import HOUSE, currency, in_name
from kit.schema import check_query
from tenants import audit, idempotency
from tenants.access import AuthContext, resolve_key
from tenants.gates import gates_pass
from tenants.scope import tenant_scope
from tenants.services.keys import key_seen


class TenantAPIView(APIView):
    """A view inside one tenant's scope.

    Subclasses name a scope per method (`required_scopes = {"GET": "files.read"}`), and find the caller in
    `self.caller`. The whole handler runs in one transaction, rolled back on any error.

    Handlers write the house's names of amounts (`cost_usd`); what the caller reads and sends is called after the
    currency of its organisation.
    """

    required_scopes: ClassVar[dict[str, str]] = {}
    caller: AuthContext
    currency = HOUSE
    _misread = False
    """Whether the body was refused: such an error has the names that were sent."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Authenticate, then open the tenant's scope until the response is made."""
        super().initial(request, *args, **kwargs)
        scope = self.scope_needed(request)
        if scope is None:
            raise MethodNotAllowed(str(request.method), self.allowed_methods)
        self.caller = resolve_key(request.headers.get("Authorization"), ip=client_ip(request._request))
        if self.caller.key_id is not None:
            key_seen(self.caller.key_id)
        self.caller.require(scope)
        check_query(dict(request._request.GET.lists()), getattr(self, str(request.method).lower()))
        self._stack.enter_context(tenant_scope(self.caller.tenant_id))
        self.currency = currency()
        token = audit.set_actor(self.caller)
        self._stack.callback(audit.reset_actor, token)
        gates_pass(str(request.method))

    def finished(self, response: Any) -> Any:
        """The answer, after the scope was closed: here nothing holds a transaction open."""
        return response

    def scope_needed(self, request: Request) -> str | None:
        """The scope for the request's method; a HEAD is a GET whose body stays behind. None for a foreign method."""
        return self.required_scopes.get("GET" if request.method == "HEAD" else str(request.method))

    @property
    def allowed_methods(self) -> list[str]:
        """What `Allow` says: the methods that have a scope, and nothing Django adds."""
        return sorted([*self.required_scopes, *(["HEAD"] if "GET" in self.required_scopes else [])])

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Close the scope (commit, or roll back when the handler failed) before the answer leaves."""
        with contextlib.ExitStack() as self._stack:
            response = super().dispatch(request, *args, **kwargs)
            if response.status_code >= 400 and transaction.get_connection().in_atomic_block:
                transaction.set_rollback(True)
        response = self.finished(response)
        if self.currency != HOUSE and isinstance(response, Response) and response.status_code < 400:
            method = "get" if request.method == "HEAD" else str(request.method).lower()
            response.data = called(response.data, places_in(getattr(type(self), method)), self.currency)
        if hasattr(self, "caller"):
            response["openai-organization"] = self.caller.tenant_slug
        response["openai-version"] = "2020-10-01"
        return response

    def handle_exception(self, exc: Exception) -> Response:
        """The wire's answer to an error; the field at fault has the name that the caller knows."""
        if isinstance(exc, ApiError) and exc.param and not self._misread:
            exc.param = in_name(exc.param, self.currency)
        return super().handle_exception(exc)

    def read(self, serializer: type[StrictSerializer]) -> dict[str, Any]:
        """The validated body."""
        try:
            return serializer(data=self.request.data, context={"currency": self.currency}).read()
        except ApiError:
            self._misread = True
            raise

    def create_once(self, request: Request, create: Any, *, status: int = 200) -> Response:
        """Answer a JSON create through `tenants.idempotency`; `create()` returns the object to answer."""
        code, answer, replayed = idempotency.run(
            actor=self.caller.actor_id,
            path=request.path,
            headers=request.headers,
            body=request._request.body,
            create=lambda: (status, create()),
        )
        response = Response(answer, status=code)
        if replayed:
            response["Idempotent-Replayed"] = "true"
        return response


class PreparedView(TenantAPIView):
    """A view with slow work before its transaction: `prepare` runs after authentication and outside any scope.

    The key is asked for again afterwards: it may have been revoked while a file was on its way.
    """

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Authenticate, prepare, then enter the scope as every view does."""
        scope = self.scope_needed(request)
        if scope is not None and request.method not in ("GET", "HEAD"):
            caller = resolve_key(request.headers.get("Authorization"), ip=client_ip(request._request))
            caller.require(scope)
            self.prepare(request, caller, **kwargs)
        super().initial(request, *args, **kwargs)

    def prepare(self, request: Request, caller: AuthContext, **kwargs: Any) -> None:
        """Override with the slow part of a change."""


class OutsideView(TenantAPIView):
    """A view whose handler notes in its transaction what is to be done, and does it after the commit: what answers
    slowly is waited for with no transaction open.

    The handler sets `outside`, which gives the body to answer; it enters the tenant's scope itself where it needs one.
    """

    outside: Callable[[], dict[str, Any]] | None = None

    def finished(self, response: Any) -> Any:
        """Do it, unless the handler refused. What it raises is answered as if the handler had raised it."""
        if self.outside is None or response.status_code >= 400:
            return response
        try:
            answer = Response(self.outside())
        except ApiError as error:
            answer = self.handle_exception(error)
        if response.has_header("Idempotent-Replayed"):
            answer["Idempotent-Replayed"] = response["Idempotent-Replayed"]
        return self.finalize_response(self.request, answer)
