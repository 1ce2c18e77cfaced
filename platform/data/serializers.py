"""What the API reads and answers."""

import re
from typing import Any

from rest_framework import serializers

from data.findings_text import words_of
from data.fixes import STEPS
from data.limits import MAX_KEEP_SECONDS, MIN_KEEP_SECONDS
from data.models import Dataset, DatasetVersion, File, Finding, Purpose, Upload, UploadPart
from kit.api import StrictSerializer
from kit.fields import Items, Number, Text, Whole

SEED_MAX = 2**31 - 1
_MD5 = re.compile(r"[0-9a-fA-F]{32}")


def timestamp(moment: Any) -> int | None:
    """Unix seconds, or None."""
    return int(moment.timestamp()) if moment else None


class PurposeField(serializers.ChoiceField):
    """What a file is for; the message names what is offered."""

    def __init__(self, **kwargs: Any) -> None:
        names = ", ".join(Purpose.values[:-1]) + f" or {Purpose.values[-1]}"
        messages: dict[str, Any] = {"invalid_choice": f"“{{input}}” is not offered. Use {names}."}
        super().__init__(choices=Purpose.choices, error_messages=messages, **kwargs)

    def to_internal_value(self, data: Any) -> Any:
        """The choice; the message repeats no more of another word than one can read."""
        return super().to_internal_value(data[:40] if isinstance(data, str) else data)


class ExpiresAfter(StrictSerializer):
    """`expires_after`."""

    anchor = serializers.ChoiceField(
        choices=["created_at"],
        help_text="What the life of the file counts from.",
        error_messages={"invalid_choice": "Must be created_at."},
    )
    seconds = Whole(
        low=MIN_KEEP_SECONDS,
        high=MAX_KEEP_SECONDS,
        help_text=f"Seconds after the anchor, {MIN_KEEP_SECONDS:,} to {MAX_KEEP_SECONDS:,}.",
    )


class FileCreate(StrictSerializer):
    """The fields beside the bytes of `POST /v1/files`."""

    purpose = PurposeField()
    expires_after = ExpiresAfter(required=False)


class UploadCreate(StrictSerializer):
    """`POST /v1/uploads`."""

    filename = Text(longest=255, help_text="The file's name to be; folders in it are dropped.")
    purpose = PurposeField(help_text="What the file is for.")
    bytes = Whole(low=1, high=2**62, help_text="Its size; the parts must add up to it. At most 8,000,000,000.")
    mime_type = Text(longest=100, help_text="Its kind as you know it. What it is, is read off its content.")
    expires_after = ExpiresAfter(required=False, allow_null=True, help_text="When the file is deleted by itself.")


class UploadComplete(StrictSerializer):
    """`POST /v1/uploads/{id}/complete`."""

    part_ids = Items(child=Text(longest=64), least=1, most=10_000, help_text="The parts in the order they join.")
    md5 = Text(
        longest=32,
        required=False,
        allow_null=True,
        help_text="MD5 of the whole file in hex; a mismatch is refused.",
    )

    def validate_md5(self, value: str | None) -> str | None:
        """32 hexadecimal digits."""
        if value is not None and not _MD5.fullmatch(value):
            raise serializers.ValidationError("Must be 32 hexadecimal digits.")
        return value


class Columns(StrictSerializer):
    """Which column is what: text and label, or messages and tools, or prompt and completion; and the split."""

    text = Text(longest=200, required=False, help_text="The column with the text.")
    label = Text(longest=200, required=False, help_text="The column with the label.")  # type: ignore[assignment]
    messages = Text(longest=200, required=False, help_text="The column with the conversation.")
    tools = Text(longest=200, required=False, help_text="The column with the tools of the conversation.")
    prompt = Text(longest=200, required=False, help_text="The column with the prompt.")
    completion = Text(longest=200, required=False, help_text="The column with the completion.")
    split = Text(longest=200, required=False, help_text="The column that says which split a row belongs to.")


class Split(StrictSerializer):
    """Shares of validation and test."""

    validation = Number(low=0, high=0.9, default=0.1, help_text="Share of the rows to validate on; 0.1 by default.")
    test = Number(low=0, high=0.9, default=0.1, help_text="Share held out to measure with; 0.1 by default.")

    def validate(self, data: dict[str, float]) -> dict[str, float]:
        """Training needs at least a tenth."""
        if data["validation"] + data["test"] > 0.9:
            raise serializers.ValidationError("validation and test may take 0.9 together; training needs the rest.")
        return data


class SourceFile(StrictSerializer):
    """One file of a dataset."""

    file_id = Text(longest=64, help_text="The file's id.")
    split = serializers.ChoiceField(
        choices=["train", "validation", "test"],
        required=False,
        help_text="The split all its rows go to; without it they are dealt out.",
        error_messages={"invalid_choice": "Must be train, validation or test."},
    )


class VersionFields(StrictSerializer):
    """What a new version may say."""

    columns = Columns(required=False, help_text="Which column is what; as detected where it is not said.")
    fixes = Items(
        child=serializers.DictField(error_messages={"not_a_dict": "Must be an object."}),
        most=50,
        required=False,
        help_text=f"Fixes to apply: `fix` is one of {', '.join(STEPS)}; merge_labels takes `labels`, old name to new.",
    )
    seed = Whole(
        low=0, high=SEED_MAX, required=False, help_text="The seed of the split; the same gives the same split."
    )
    split = Split(required=False, help_text="Shares of validation and test.")


class DatasetCreate(VersionFields):
    """`POST /v1/datasets`: one `file_id`, or several `files`."""

    name = Text(longest=120, required=False, help_text="Its name; the first file's where none is given.")
    file_id = Text(longest=64, required=False, help_text="The one file it is made of.")
    files = Items(child=SourceFile(), least=1, most=20, required=False, help_text="Or the several files.")

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        """Exactly one way of naming the files."""
        if ("file_id" in data) == ("files" in data):
            raise serializers.ValidationError("Name the upload in file_id, or several in files; not both.")
        return data


class VersionCreate(VersionFields):
    """`POST /v1/datasets/{id}/versions`."""

    parent_id = Text(longest=64, required=False, help_text="The version to start from; the newest where none is named.")


def file_body(file: File, *, whole: bool = False) -> dict[str, Any]:
    """The wire's file object, with our own fields behind `x_`; `whole` adds the profile, too long for lists."""
    body = {
        "id": file.public_id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": timestamp(file.created_at),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": file.status,
        "status_details": file.status_details or None,
        "expires_at": timestamp(file.expires_at),
        "x_sha256": file.sha256,
        "x_task": file.task or None,
        "x_rows": file.rows,
        "x_format": (file.source or {}).get("kind"),
        "x_columns": file.columns,
        "x_roles": file.roles,
        "x_findings": {level: file.levels.get(level, 0) for level in ("blocking", "warning", "note")},
    }
    return body | {"x_profile": file.profile or None} if whole else body


def finding_body(finding: Finding) -> dict[str, Any]:
    """One finding in words and numbers."""
    return {
        "id": finding.public_id,
        "object": "file.finding",
        "code": finding.code,
        "level": finding.level,
        **words_of(finding),
        "count": finding.count,
        "rows": finding.rows,
        "rows_complete": len(finding.rows) == finding.count,
        "samples": finding.samples,
        "params": finding.params,
    }


def upload_body(upload: Upload, file: File | None = None) -> dict[str, Any]:
    """The wire's upload object."""
    return {
        "id": upload.public_id,
        "object": "upload",
        "bytes": upload.bytes,
        "created_at": timestamp(upload.created_at),
        "expires_at": timestamp(upload.expires_at),
        "filename": upload.filename,
        "purpose": upload.purpose,
        "status": upload.status,
        "file": file_body(file) if file else None,
    }


def part_body(part: UploadPart) -> dict[str, Any]:
    """The wire's part object."""
    return {
        "id": part.public_id,
        "object": "upload.part",
        "created_at": timestamp(part.created_at),
        "upload_id": part.upload.public_id,
    }


def version_body(version: DatasetVersion) -> dict[str, Any]:
    """One version with its lineage."""
    sources = version.sources.select_related("file").order_by("position")
    return {
        "id": version.public_id,
        "object": "dataset.version",
        "dataset_id": version.dataset.public_id,
        "number": version.number,
        "parent_id": version.parent.public_id if version.parent else None,
        "created_at": timestamp(version.created_at),
        "ready_at": timestamp(version.ready_at),
        "task": version.task,
        "state": version.state,
        "error": version.error,
        "files": [
            {"file_id": source.file.public_id, "sha256": source.file.sha256, "split": source.split or None}
            for source in sources
        ],
        "columns": version.spec["files"][0]["columns"],
        "fixes": version.spec["fixes"],
        "seed": version.spec["seed"],
        "split": version.spec["split"],
        "rows": version.rows,
        "bytes": version.bytes,
        "tokens": version.tokens,
        "content_sha256": version.content_sha256 or None,
        "labels": version.labels,
        "splits": version.splits,
        "dropped": version.dropped,
        "profile": version.profile or None,
    }


def dataset_body(dataset: Dataset) -> dict[str, Any]:
    """A dataset with its newest version."""
    newest = dataset.versions.select_related("dataset", "parent").order_by("-number").first()
    return {
        "id": dataset.public_id,
        "object": "dataset",
        "name": dataset.name,
        "created_at": timestamp(dataset.created_at),
        "version": version_body(newest) if newest else None,
    }
