"""`/v1/files`, `/v1/uploads`: as the official client uses them, with findings beside."""

from collections.abc import Mapping
from typing import Any, cast

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response

from data import selectors, serializers, services
from data.downloads import finding_rows
from data.errors import FileTooLarge
from data.limits import PART_BYTES, room_for
from data.models import RESULTS, File, Finding, Purpose, Upload, UploadPart
from data.receiving import MultipartView, PreparedView
from data.services.files import Stored, clean_filename
from kit import storage
from kit.errors import BadRequest, NotFound
from kit.ids import parse_id
from kit.pages import cursor_page, read_limit
from kit.streams import attachment
from tenants import idempotency
from tenants.access import AuthContext
from tenants.api import TenantAPIView
from tenants.scope import tenant_scope

FILE_FIELDS = frozenset(("purpose", "expires_after[anchor]", "expires_after[seconds]"))
MAX_PAGE = 10_000
FILE_FORM = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "purpose": {"type": "string", "enum": Purpose.values},
        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
        "expires_after[seconds]": {"type": "integer"},
    },
}
PAGING = [
    OpenApiParameter("after", str, description="Id of the last object of the page before."),
    OpenApiParameter("limit", int, description="Objects on a page."),
    OpenApiParameter("order", str, enum=["asc", "desc"], description="By creation."),
]
PURPOSE = OpenApiParameter("purpose", str, enum=Purpose.values)
FORMAT = OpenApiParameter("format", str, enum=["jsonl", "csv"])
LEVEL = OpenApiParameter("level", str, enum=["blocking", "warning", "note"])
PART_FORM = {
    "type": "object",
    "required": ["data"],
    "properties": {"data": {"type": "string", "format": "binary"}},
}


def keep_seconds(data: dict[str, Any]) -> int | None:
    """The life asked for, in seconds."""
    expires = data.get("expires_after")
    return int(expires["seconds"]) if expires else None


class FilesView(MultipartView):
    """List files; take one in."""

    required_scopes = {"GET": "files.read", "POST": "files.write"}
    filename: str
    fields: dict[str, Any]

    @extend_schema(operation_id="files_list", parameters=[PURPOSE, *PAGING], responses=dict)
    def get(self, request: Request) -> Response:
        """The project's files, newest first; `purpose` filters."""
        purpose = request.query_params.get("purpose")
        if purpose is not None and purpose not in (*Purpose.values, RESULTS):
            raise BadRequest(f"'purpose' must be one of {', '.join(Purpose.values)}.", param="purpose")
        page = cursor_page(
            selectors.files(self.caller.project_id, purpose=purpose),
            request.query_params,
            parse=lambda text: parse_id(File.prefix, text),
            render=serializers.file_body,
            default=MAX_PAGE,
            maximum=MAX_PAGE,
        )
        return Response(page)

    def prepare(self, request: Request, caller: AuthContext, **kwargs: Any) -> None:
        """Take the bytes into storage before the transaction."""
        room = room_for(caller.tenant_id)
        upload = self.receive(request, caller, field="file", limit=max(room.next_bytes, 1), known=FILE_FIELDS)
        self.filename = clean_filename(upload.name)
        form = cast("Mapping[str, Any]", request.data)
        body = {"purpose": form["purpose"]} if "purpose" in form else {}
        expires = {name: form[key] for name in ("anchor", "seconds") if (key := f"expires_after[{name}]") in form}
        if expires:
            body["expires_after"] = expires
        self.fields = serializers.FileCreate(data=body).read()
        if not upload.size:
            raise BadRequest("The file is empty. Upload a file with at least one row.", param="file", code="empty_file")

    @extend_schema(request={"multipart/form-data": FILE_FORM}, responses=dict)
    def post(self, request: Request) -> Response:
        """A file of the bytes received; its check starts after the answer."""
        stored = cast("Stored", self.stored)
        status, answer, replayed = idempotency.run(
            actor=self.caller.actor_id,
            path=request.path,
            headers=request.headers,
            body=f"{stored.sha256} {self.filename} {self.fields}".encode(),
            create=lambda: (200, serializers.file_body(self._create(stored))),
        )
        if replayed:
            stored.discard()
        return Response(answer, status=status)

    def _create(self, stored: Stored) -> File:
        return services.file_create(
            project_id=self.caller.project_id,
            filename=self.filename,
            purpose=self.fields["purpose"],
            stored=stored,
            keep_seconds=keep_seconds(self.fields),
        )


class FileView(TenantAPIView):
    """One file."""

    required_scopes = {"GET": "files.read", "DELETE": "files.write"}

    @extend_schema(responses=dict)
    def get(self, request: Request, file_id: str) -> Response:
        """The file object."""
        return Response(serializers.file_body(selectors.file_get(self.caller.project_id, file_id), whole=True))

    @extend_schema(responses=dict)
    def delete(self, request: Request, file_id: str) -> Response:
        """Take the file out of every list; dataset versions made from it stay.

        For 30 days the console can bring it back, or erase it at once.
        """
        file = selectors.file_get(self.caller.project_id, file_id)
        services.file_delete(file=file)
        return Response({"id": file.public_id, "object": "file", "deleted": True})


class AnyAccept(BaseContentNegotiation):
    """The official client asks for application/binary; bytes are what there is."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        """No body is read."""
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        """Errors are JSON whatever was asked for."""
        return renderers[0], renderers[0].media_type


class FileContentView(TenantAPIView):
    """A file's bytes."""

    required_scopes = {"GET": "files.read"}
    content_negotiation_class = AnyAccept

    @extend_schema(responses={(200, "application/octet-stream"): bytes})
    def get(self, request: Request, file_id: str) -> Any:
        """The bytes as uploaded, as an attachment."""
        file = selectors.file_get(self.caller.project_id, file_id)
        try:
            stream = storage.open_read(file.storage_key)
        except FileNotFoundError as error:
            raise NotFound.of(file_id) from error
        return attachment(
            request._request,
            storage.chunks_of(stream),
            filename=file.filename,
            content_type="application/octet-stream",
            size=file.bytes,
        )


class FindingsView(TenantAPIView):
    """What was found in a file."""

    required_scopes = {"GET": "files.read"}

    @extend_schema(parameters=[LEVEL, *PAGING[:2]], responses=dict)
    def get(self, request: Request, file_id: str) -> Response:
        """Findings, the most important first; `level` filters."""
        file = selectors.file_get(self.caller.project_id, file_id)
        level = request.query_params.get("level")
        if level is not None and level not in ("blocking", "warning", "note"):
            raise BadRequest("'level' must be blocking, warning or note.", param="level")
        limit = read_limit(request.query_params.get("limit"), default=100, maximum=400)
        rows = selectors.findings(file, level=level)
        after = request.query_params.get("after")
        if after is not None:
            rows = rows.filter(position__gt=self._position(file, after))
        found = list(rows[: limit + 1])
        data = [serializers.finding_body(finding) for finding in found[:limit]]
        return Response(
            {
                "object": "list",
                "data": data,
                "first_id": data[0]["id"] if data else None,
                "last_id": data[-1]["id"] if data else None,
                "has_more": len(found) > limit,
                "file_id": file.public_id,
                "status": file.status,
            }
        )

    def _position(self, file: File, after: str) -> int:
        """The place of the cursor among the file's findings."""
        try:
            found = selectors.findings(file).filter(pk=parse_id(Finding.prefix, after)).first()
        except NotFound:
            found = None
        if found is None:
            raise BadRequest(f"'after' is not an id of this list: '{after[:100]}'.", param="after")
        return int(found.position)


class FindingRowsView(TenantAPIView):
    """The rows that findings name, to mend them elsewhere."""

    required_scopes = {"GET": "files.read"}
    content_negotiation_class = AnyAccept

    @extend_schema(
        parameters=[FORMAT, LEVEL, OpenApiParameter("code", str, description="Only this code's rows.")],
        responses={(200, "application/x-ndjson"): str, (200, "text/csv"): str},
    )
    def get(self, request: Request, file_id: str) -> Any:
        """Every row that a finding names, as uploaded, with row number, line, code, level and message; streamed.

        `format=jsonl` holds the exact characters. `format=csv` is made for spreadsheets: a cell that could run as a
        formula has an apostrophe before it.
        """
        file = selectors.file_get(self.caller.project_id, file_id)
        query = request.query_params
        found = finding_rows(
            file=file, form=query.get("format", "jsonl"), level=query.get("level"), code=query.get("code")
        )
        return attachment(request._request, found.pieces, filename=found.filename, content_type=found.content_type)


class UploadsView(TenantAPIView):
    """Announce an upload in parts."""

    required_scopes = {"POST": "files.write"}

    @extend_schema(request=serializers.UploadCreate, responses=dict)
    def post(self, request: Request) -> Response:
        """A pending upload with an hour to live."""
        data = self.read(serializers.UploadCreate)
        return self.create_once(
            request,
            lambda: serializers.upload_body(
                services.upload_create(
                    project_id=self.caller.project_id,
                    filename=data["filename"],
                    purpose=data["purpose"],
                    size=data["bytes"],
                    mime_type=data["mime_type"],
                    keep_seconds=keep_seconds(data),
                )
            ),
        )


class UploadPartsView(MultipartView):
    """Send a part."""

    required_scopes = {"POST": "files.write"}

    def prepare(self, request: Request, caller: AuthContext, **kwargs: Any) -> None:
        """Take the bytes into storage before the transaction, once the upload is known to be the caller's and open."""
        with tenant_scope(caller.tenant_id):
            selectors.upload_get(caller.project_id, kwargs["upload_id"])
        part = self.receive(request, caller, field="data", limit=PART_BYTES, known=frozenset())
        if not part.size:
            raise FileTooLarge(f"A part has 1 to {PART_BYTES:,} bytes; this one has 0.", param="data")

    @extend_schema(request={"multipart/form-data": PART_FORM}, responses=dict)
    def post(self, request: Request, upload_id: str) -> Response:
        """One more part of a pending upload."""
        upload = selectors.upload_get(self.caller.project_id, upload_id)
        part = services.upload_part_create(upload=upload, stored=cast("Stored", self.stored))
        return Response(serializers.part_body(part))


class UploadCompleteView(PreparedView):
    """Join the parts."""

    required_scopes = {"POST": "files.write"}

    def prepare(self, request: Request, caller: AuthContext, **kwargs: Any) -> None:
        """Check and join the parts before the transaction."""
        with tenant_scope(caller.tenant_id):
            upload = selectors.upload_get(caller.project_id, kwargs["upload_id"])
            data = serializers.UploadComplete(data=request.data).read()
            part_ids = [parse_id(UploadPart.prefix, text, param="part_ids") for text in data["part_ids"]]
            assembly = services.upload_assemble(upload=upload, part_ids=part_ids)
        self.stored = services.upload_join(assembly=assembly, md5=data.get("md5"))

    @extend_schema(request=serializers.UploadComplete, responses=dict)
    def post(self, request: Request, upload_id: str) -> Response:
        """The completed upload with its file."""
        upload = selectors.upload_get(self.caller.project_id, upload_id)
        completed, file = services.upload_complete(upload=upload, stored=cast("Stored", self.stored))
        return Response(serializers.upload_body(completed, file))


class UploadCancelView(TenantAPIView):
    """Give up."""

    required_scopes = {"POST": "files.write"}

    @extend_schema(request=None, responses=dict)
    def post(self, request: Request, upload_id: str) -> Response:
        """The cancelled upload."""
        upload: Upload = selectors.upload_get(self.caller.project_id, upload_id)
        return Response(serializers.upload_body(services.upload_cancel(upload=upload)))
