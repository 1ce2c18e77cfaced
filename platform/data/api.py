"""`/v1/files`, `/v1/uploads`: as the official client uses them, with findings beside."""

from collections.abc import Mapping
from typing import Any, cast

from rest_framework.request import Request
from rest_framework.response import Response

from data import schema, selectors, serializers, services
from data.downloads import finding_rows
from data.limits import PART_BYTES, room_for
from data.models import WRITTEN, File, Finding, Purpose, Upload, UploadPart
from data.receiving import MultipartView, StoringView
from data.services.files import Stored, clean_filename
from kit import storage
from kit.errors import BadRequest, NotFound
from kit.ids import parse_id
from kit.pages import cursor_page, read_limit
from kit.schema import describe, paging, query
from kit.streams import attachment
from tenants import idempotency
from tenants.access import AuthContext
from tenants.api import TenantAPIView
from tenants.scope import tenant_scope

FILE_FIELDS = frozenset(("purpose", "expires_after[anchor]", "expires_after[seconds]"))
MAX_PAGE = 10_000
MAX_FINDINGS = 400
PURPOSE = query("purpose", str, "Only files of this purpose.", choices=(*Purpose.values, *WRITTEN))
FORMAT = query(
    "format",
    str,
    "`jsonl`, the default, holds the exact characters; `csv` is made for spreadsheets.",
    choices=("jsonl", "csv"),
)
LEVEL = query("level", str, "Only findings of this level.", choices=schema.LEVELS)
CODE = query("code", str, "Only this code's rows.", example="exact_duplicates")
TOO_LARGE = "The file is over the plan's size, or the storage over the plan's; the message says which and by how much."
CLOSED = "The upload is completed, cancelled or expired."


def keep_seconds(data: dict[str, Any]) -> int | None:
    """The life asked for, in seconds."""
    expires = data.get("expires_after")
    return int(expires["seconds"]) if expires else None


class FilesView(MultipartView):
    """List files; take one in."""

    required_scopes = {"GET": "files.read", "POST": "files.write"}
    filename: str
    fields: dict[str, Any]

    @describe(
        name="files_list",
        answers=schema.FILES,
        fields=[PURPOSE, *paging(default=MAX_PAGE, maximum=MAX_PAGE)],
    )
    def get(self, request: Request) -> Response:
        """List files

        The project's files, newest first.
        """
        purpose = request.query_params.get("purpose")
        if purpose is not None and purpose not in (*Purpose.values, *WRITTEN):
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
            if (seconds := str(expires.get("seconds", ""))).isascii() and seconds.isdigit() and len(seconds) <= 20:
                expires["seconds"] = int(seconds)
            body["expires_after"] = expires
        self.fields = serializers.FileCreate(data=body).read()
        if not upload.size:
            raise BadRequest("The file is empty. Upload a file with at least one row.", param="file", code="empty_file")

    @describe(
        name="files_create",
        takes={"multipart/form-data": schema.FILE_FORM},
        answers=schema.FILE,
        refuses={413: TOO_LARGE, 415: "The body is not multipart/form-data."},
        once=True,
    )
    def post(self, request: Request) -> Response:
        """Upload a file

        The check of its rows begins after the answer: poll the file until its status is `processed`. Every byte is
        kept as it came. Larger files come in parts, over `/v1/uploads`.
        """
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

    @describe(name="files_retrieve", answers=schema.FILE_WHOLE)
    def get(self, request: Request, file_id: str) -> Response:
        """Retrieve a file

        With its profile: labels, lengths and duplicates.
        """
        return Response(serializers.file_body(selectors.file_get(self.caller.project_id, file_id), whole=True))

    @describe(
        name="files_delete",
        answers=schema.FILE_DELETED,
        refuses={409: "Something being made still reads the file."},
    )
    def delete(self, request: Request, file_id: str) -> Response:
        """Delete a file

        It leaves every list; dataset versions made from it stay. For 30 days the console can bring it back, or erase it
        at once.
        """
        file = selectors.file_get(self.caller.project_id, file_id)
        services.file_delete(file=file)
        return Response({"id": file.public_id, "object": "file", "deleted": True})


class FileContentView(TenantAPIView):
    """A file's bytes."""

    required_scopes = {"GET": "files.read"}

    @describe(name="files_content", answers={(200, "application/octet-stream"): bytes})
    def get(self, request: Request, file_id: str) -> Any:
        """Download a file

        The bytes as uploaded.
        """
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

    @describe(
        name="files_findings",
        answers=schema.FINDINGS,
        fields=[LEVEL, *paging(default=100, maximum=MAX_FINDINGS, order=False)],
    )
    def get(self, request: Request, file_id: str) -> Response:
        """List findings

        Every kind of problem in the file, the gravest first, each with its rows and its fix.
        """
        file = selectors.file_get(self.caller.project_id, file_id)
        level = request.query_params.get("level")
        if level is not None and level not in ("blocking", "warning", "note"):
            raise BadRequest("'level' must be blocking, warning or note.", param="level")
        limit = read_limit(request.query_params.get("limit"), default=100, maximum=MAX_FINDINGS)
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

    @describe(
        name="files_findings_rows",
        fields=[FORMAT, LEVEL, CODE],
        answers={(200, "application/x-ndjson"): str, (200, "text/csv"): str},
        refuses={429: "As many such downloads run as one organisation may have at once."},
    )
    def get(self, request: Request, file_id: str) -> Any:
        """Download rows with findings

        Every row that a finding names, as uploaded, with row number, line, code, level and message; streamed.
        In `format=csv` a cell that could run as a formula has an apostrophe before it.
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

    @describe(
        name="uploads_create",
        takes=serializers.UploadCreate,
        answers=schema.UPLOAD,
        refuses={413: TOO_LARGE},
        once=True,
        example={"filename": "intents.csv", "purpose": "fine-tune", "bytes": 159_482, "mime_type": "text/csv"},
    )
    def post(self, request: Request) -> Response:
        """Announce an upload

        A pending upload with an hour to live. Send its parts, then complete it.
        """
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
        services.part_check(part.size or 0)

    @describe(
        name="uploads_parts_create",
        takes={"multipart/form-data": schema.PART_FORM},
        answers=schema.PART,
        refuses={
            409: CLOSED,
            413: f"The part is larger than {PART_BYTES:,} bytes.",
            415: "It is not multipart/form-data.",
        },
    )
    def post(self, request: Request, upload_id: str) -> Response:
        """Send a part

        Parts may come in any order and at once; the completion says how they join.
        """
        upload = selectors.upload_get(self.caller.project_id, upload_id)
        part = services.upload_part_create(upload=upload, stored=cast("Stored", self.stored))
        return Response(serializers.part_body(part))


class UploadCompleteView(StoringView):
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

    @describe(
        name="uploads_complete",
        takes=serializers.UploadComplete,
        answers=schema.UPLOAD,
        refuses={409: CLOSED, 413: TOO_LARGE},
        example={"part_ids": ["part_…", "part_…"]},
    )
    def post(self, request: Request, upload_id: str) -> Response:
        """Complete an upload

        Joins the parts in the order given; the answer holds the file.
        """
        upload = selectors.upload_get(self.caller.project_id, upload_id)
        completed, file = services.upload_complete(upload=upload, stored=cast("Stored", self.stored))
        return Response(serializers.upload_body(completed, file))


class UploadCancelView(TenantAPIView):
    """Give up."""

    required_scopes = {"POST": "files.write"}

    @describe(name="uploads_cancel", answers=schema.UPLOAD, refuses={409: CLOSED})
    def post(self, request: Request, upload_id: str) -> Response:
        """Cancel an upload

        Its parts are thrown away.
        """
        upload: Upload = selectors.upload_get(self.caller.project_id, upload_id)
        return Response(serializers.upload_body(services.upload_cancel(upload=upload)))
