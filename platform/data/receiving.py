"""Taking multipart bytes in before any transaction opens: who sends, how much may come, stop when it is too much."""

from typing import Any, cast

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, TemporaryFileUploadHandler
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request

from kit.api import StrictJSONParser
from kit.errors import BadRequest, PayloadTooLarge, UnsupportedMediaType
from kit.http import client_ip
from tenants.access import AuthContext, resolve_key
from tenants.api import TenantAPIView

FORM_OVERHEAD = 1 << 20
"""Bytes that boundaries and small fields may add to a file."""


class Ceiling(FileUploadHandler):
    """Refuse a body at the byte where it passes the limit, not after all of it has come."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit, self.seen = limit, 0

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        """Count, then pass on."""
        self.seen += len(raw_data)
        if self.seen > self.limit:
            raise too_large(self.limit)
        return raw_data

    def file_complete(self, file_size: int) -> None:
        """Leave the file to the next handler."""


def too_large(limit: int) -> PayloadTooLarge:
    """The one wording for a body over its limit."""
    return PayloadTooLarge(
        f"More than {limit:,} bytes arrived, and that is all that fits now. Split the file, delete others, or change "
        "the plan.",
        code="file_too_large",
        param="file",
    )


class PreparedView(TenantAPIView):
    """A view with slow work before its transaction: `prepare` runs after authentication and outside any scope."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Authenticate, prepare, then enter the scope as every view does."""
        scope = self.required_scopes.get(str(request.method))
        if scope is not None:
            caller = resolve_key(request.headers.get("Authorization"), ip=client_ip(request._request))
            caller.require(scope)
            self.prepare(request, caller, **kwargs)
        super().initial(request, *args, **kwargs)

    def prepare(self, request: Request, caller: AuthContext, **kwargs: Any) -> None:
        """Override with the slow part."""


class MultipartView(PreparedView):
    """A view whose POST takes one file in a multipart form."""

    parser_classes = [MultiPartParser, StrictJSONParser]

    def receive(self, request: Request, *, field: str, limit: int, known: frozenset[str]) -> "UploadedFile[bytes]":
        """Parse the form; the file under `field`, spooled to disk. 415, 413 or 400 otherwise."""
        if not (request.content_type or "").startswith("multipart/form-data"):
            raise UnsupportedMediaType(f"Send multipart/form-data with the file under “{field}”.")
        self._check_length(request, limit)
        django_request = request._request
        django_request.upload_handlers = [Ceiling(limit), TemporaryFileUploadHandler(django_request)]
        data = request.data
        files = request.FILES
        unknown = [name for name in data if name not in known and name != field]
        if unknown:
            raise BadRequest(
                f"Unknown field “{unknown[0][:80]}”. Known fields: {', '.join(sorted(known | {field}))}.",
                param=unknown[0][:80],
            )
        uploads = files.getlist(field)
        if len(uploads) != 1:
            raise BadRequest(f"Send exactly one file under “{field}”; there are {len(uploads)}.", param=field)
        return cast("UploadedFile[bytes]", uploads[0])

    def _check_length(self, request: Request, limit: int) -> None:
        declared = request.META.get("CONTENT_LENGTH") or ""
        if declared.isdigit() and int(declared) > limit + max(FORM_OVERHEAD, settings.DATA_UPLOAD_MAX_MEMORY_SIZE):
            raise too_large(limit)
