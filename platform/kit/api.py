"""What every DRF view shares: strict JSON in, one error shape out, serializers that refuse unknown fields."""

import logging
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent
from django.db import InterfaceError, OperationalError, transaction
from django.http import Http404, UnreadablePostError
from rest_framework import exceptions, parsers, serializers, status
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response

from kit import strict_json
from kit.errors import ApiError, BadRequest, NotFound, PayloadTooLarge, Unavailable
from kit.money import HOUSE, in_name

logger = logging.getLogger(__name__)


class StrictJSONParser(parsers.BaseParser):
    """`application/json` through `kit.strict_json`; the body must be an object."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        """The body's object; an empty body is an empty object."""
        try:
            raw = stream.body if hasattr(stream, "body") else stream.read()
        except RequestDataTooBig as error:
            raise PayloadTooLarge("The JSON body is larger than 1 MiB. Upload large data as a file.") from error
        if not raw.strip():
            return {}
        value = strict_json.loads(raw)
        if not isinstance(value, dict):
            raise BadRequest("The body must be a JSON object.")
        return value


class JsonWhatever(DefaultContentNegotiation):
    """Answers are what the route gives, whatever `Accept` says: JSON, or the bytes asked for by the path."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        """The one renderer there is."""
        return renderers[0], renderers[0].media_type


class StrictSerializer(serializers.Serializer[Any]):
    """Input with no room for surprises: a field nobody knows is an error, not ignored.

    With a currency in the `context`, a field that holds an amount is called after it: `cost_usd` is `cost_eur` there.
    """

    default_error_messages = {"invalid": "Must be an object."}

    def to_internal_value(self, data: Any) -> Any:
        """Refuse unknown fields, then validate as usual."""
        code = self.context.get("currency", HOUSE)
        called: dict[str, str] = {in_name(str(name), code): str(name) for name in self.fields}
        if isinstance(data, Mapping):
            for name in data:
                if name not in called:
                    raise serializers.ValidationError({str(name): [self._unknown(str(name), called, code)]})
            data = {called[name]: value for name, value in data.items()}
        try:
            return super().to_internal_value(data)
        except serializers.ValidationError as error:
            if code == HOUSE or not isinstance(error.detail, Mapping):
                raise
            detail = {in_name(name, code) if name in self.fields else name: one for name, one in error.detail.items()}
            raise serializers.ValidationError(detail) from error

    def _unknown(self, name: str, called: Mapping[str, str], code: str) -> str:
        if name in self.fields:
            return f"This organisation pays in {code.upper()}: the field is {in_name(name, code)}."
        known = ", ".join(sorted(said for said, field in called.items() if not self.fields[field].read_only))
        return f"Unknown field. Known fields: {known}."

    def read(self) -> dict[str, Any]:
        """The validated input; BadRequest with `param` otherwise."""
        try:
            self.is_valid(raise_exception=True)
        except exceptions.ValidationError as error:
            raise from_validation(error) from error
        return dict(self.validated_data)


def from_validation(error: exceptions.ValidationError) -> BadRequest:
    """The first field error as a BadRequest with the path in `param`."""
    path, message = _first(error.detail, "")
    text = f"{path}: {message}" if path else message
    return BadRequest(text, param=path or None)


def _first(detail: Any, path: str) -> tuple[str, str]:
    if isinstance(detail, Mapping):
        for key, value in detail.items():
            if isinstance(key, int):
                return _first(value, f"{path}[{key}]")
            name = "" if key == "non_field_errors" else str(key)
            return _first(value, f"{path}.{name}".strip(".") if name else path)
    if isinstance(detail, list) and detail:
        for index, value in enumerate(detail):
            if isinstance(value, Mapping):
                if value:
                    return _first(value, f"{path}[{index}]")
                continue
            return path, str(value)
    return path, str(detail)


def error_response(error: ApiError) -> Response:
    """The wire's answer to an error."""
    response = Response(error.body(), status=error.status)
    for name, value in error.headers.items():
        response[name] = value
    return response


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's hook: everything a client did becomes a clear 4xx; our own faults are logged and re-raised as 500 JSON."""
    connection = transaction.get_connection()
    if connection.in_atomic_block:
        transaction.set_rollback(True)
    return error_response(translate(error))


def translate(error: Exception) -> ApiError:
    """Any exception as one of the family."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, exceptions.ValidationError):
        return from_validation(error)
    if isinstance(error, (Http404, exceptions.NotFound)):
        return NotFound("Nothing is at this path.")
    if isinstance(error, RequestDataTooBig):
        return PayloadTooLarge("The body is too large.")
    if isinstance(error, UnreadablePostError):
        return BadRequest("The connection closed before the body was complete. Nothing was stored.")
    if isinstance(error, (TooManyFieldsSent, TooManyFilesSent)):
        return BadRequest("The form has more fields than any route here reads. Send the ones the route names.")
    if isinstance(error, exceptions.ParseError):
        return BadRequest(f"The body cannot be read: {error.detail}. Send multipart/form-data as form libraries do.")
    if isinstance(error, exceptions.UnsupportedMediaType):
        return _status(415, "This route reads application/json.", "unsupported_media_type")
    if isinstance(error, exceptions.APIException) and error.status_code < status.HTTP_500_INTERNAL_SERVER_ERROR:
        return _status(error.status_code, str(error.detail), str(error.default_code))
    if isinstance(error, AWAY):
        logger.warning("the database is away: %s", error)
        return DatabaseAway()
    logger.exception("unhandled error in an API view", exc_info=error)
    return InternalError()


AWAY = (OperationalError, InterfaceError)


class DatabaseAway(Unavailable):
    """The database restarts, or cannot be reached. Whether a write was done is not known: its answer may be lost."""

    default_code = "database_unavailable"

    def __init__(self) -> None:
        super().__init__(
            "Our database does not answer at the moment. Send the request again in a few seconds; a create that names "
            "an Idempotency-Key is done once.",
            headers={"Retry-After": "5"},
        )


class InternalError(ApiError):
    """Our own fault."""

    status = 500
    type = "server_error"

    def __init__(self) -> None:
        super().__init__(
            "Something failed on our side and has been logged. Try again; quote the x-request-id to support."
        )


def _status(code: int, message: str, name: str) -> ApiError:
    error = ApiError(message, code=name)
    error.status = code  # type: ignore[misc]
    return error
