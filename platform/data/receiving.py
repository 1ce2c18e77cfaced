"""Taking multipart bytes in before any transaction opens: who sends, how much may come, stop when it is too much."""

from io import BytesIO
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import QueryDict
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request

from data.services.files import HEAD, Stored, file_receive
from kit import storage
from kit.api import StrictJSONParser
from kit.errors import ApiError, BadRequest, PayloadTooLarge, UnsupportedMediaType
from tenants.access import AuthContext
from tenants.api import PreparedView

FORM_OVERHEAD = 1 << 20
"""Bytes that boundaries and small fields may add to a file."""


class Intake(FileUploadHandler):
    """Puts the one file of a form into storage while it arrives: a byte is written once, and none past the limit.

    `drop` forgets the file again; whoever makes an intake calls it unless a row points at what was stored.
    """

    chunk_size = storage.CHUNK

    def __init__(self, *, tenant_id: UUID, field: str, limit: int, swallow: bool = False) -> None:
        """With `swallow`, a refusal waits in `refused` and the rest of the form is read, for a page to show it."""
        super().__init__()
        self._tenant_id, self._field, self._limit, self._swallow = tenant_id, field, limit, swallow
        self._incoming: storage.Incoming | None = None
        self._head = b""
        self.stored: Stored | None = None
        self.refused: ApiError | None = None

    def new_file(self, field_name: str, *args: Any, **kwargs: Any) -> None:
        """The form's file begins."""
        super().new_file(field_name, *args, **kwargs)
        try:
            if field_name != self._field or self._incoming is not None:
                raise BadRequest(f"Send exactly one file, under “{self._field}”.", param=self._field)
            self._incoming = file_receive(tenant_id=self._tenant_id, limit=self._limit)
        except ApiError as error:
            self._refuse(error)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Keep a piece."""
        if self._incoming is None or self.refused is not None:
            return
        try:
            self._incoming.write(raw_data)
            self._head += raw_data[: HEAD - len(self._head)]
        except storage.TooLarge:
            self._refuse(too_large(self._limit, self._field))
        except ApiError as error:
            self._refuse(error)

    def file_complete(self, file_size: int) -> "UploadedFile[bytes]":
        """Put it under its key. An empty file is never stored."""
        if self._incoming is not None and not file_size:
            self._incoming.drop()
        elif self._incoming is not None and self.refused is None:
            try:
                self._incoming.keep()
                self.stored = Stored(self._incoming.key, self._incoming.size, self._incoming.sha256, self._head)
            except ApiError as error:
                self._refuse(error)
        return UploadedFile(BytesIO(), self.file_name, self.content_type, file_size, self.charset)

    def drop(self) -> None:
        """Leave nothing behind."""
        if self._incoming is not None:
            self._incoming.drop()
        if self.stored is not None:
            self.stored.discard()
            self.stored = None

    def _refuse(self, error: ApiError) -> None:
        self.drop()
        self.refused = self.refused or error
        if not self._swallow:
            raise error


def too_large(limit: int, field: str = "file") -> PayloadTooLarge:
    """The one wording for a body over its limit, which is the plan's for a file, and the house's for a part of one or
    for one that comes with a message."""
    if field == "file":
        more = "and that is all that fits now. Split the file, delete others, or change the plan."
    elif field == "data":
        more = "the most one part may have. Send the upload in smaller parts."
    else:
        more = "the most a file here may have. Send a smaller one."
    return PayloadTooLarge(f"More than {limit:,} bytes arrived, {more}", code="file_too_large", param=field)


class StoringView(PreparedView):
    """A view whose `prepare` puts bytes into storage."""

    stored: Stored | None = None
    """Removed again unless the request succeeds."""

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Answer; nothing stays in storage that no row points at."""
        try:
            response = super().dispatch(request, *args, **kwargs)
        except BaseException:
            self._discard()
            raise
        if response.status_code >= 400:
            self._discard()
        return response

    def _discard(self) -> None:
        if self.stored is not None:
            self.stored.discard()
            self.stored = None


class MultipartView(StoringView):
    """A view whose POST takes one file in a multipart form."""

    parser_classes = [MultiPartParser, StrictJSONParser]

    def receive(
        self, request: Request, caller: AuthContext, *, field: str, limit: int, known: frozenset[str]
    ) -> "UploadedFile[bytes]":
        """Take the form in: `stored` holds the bytes of the file under `field`, which are the view's to discard.
        415, 413 or 400 where there is none."""
        if not (request.content_type or "").startswith("multipart/form-data"):
            raise UnsupportedMediaType(f"Send multipart/form-data with the file under “{field}”.")
        self._check_length(request, limit, field)
        intake = Intake(tenant_id=caller.tenant_id, field=field, limit=limit)
        django_request = request._request
        django_request.upload_handlers = [intake]
        try:
            self._check_form(request, field, known | {field})
        except BaseException:
            intake.drop()
            raise
        self.stored = intake.stored
        return cast("UploadedFile[bytes]", request.FILES[field])

    def _check_form(self, request: Request, field: str, known: frozenset[str]) -> None:
        data = cast("QueryDict", request.data)
        unknown = [name for name in data if name not in known]
        twice = [name for name in data if name != field and len(data.getlist(name)) > 1]
        if twice and not unknown:
            raise BadRequest(f"The field “{twice[0]}” stands twice in the form; send it once.", param=twice[0])
        if unknown:
            raise BadRequest(
                f"Unknown field “{unknown[0][:80]}”. Known fields: {', '.join(sorted(known))}.", param=unknown[0][:80]
            )
        uploads = request.FILES.getlist(field)
        if len(uploads) != 1:
            raise BadRequest(f"Send exactly one file under “{field}”; there are {len(uploads)}.", param=field)

    def _check_length(self, request: Request, limit: int, field: str) -> None:
        declared = request.META.get("CONTENT_LENGTH") or ""
        if declared.isdigit() and int(declared) > limit + max(FORM_OVERHEAD, settings.DATA_UPLOAD_MAX_MEMORY_SIZE):
            raise too_large(limit, field)
