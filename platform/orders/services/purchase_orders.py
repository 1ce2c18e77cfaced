"""A purchase order as the customer's document: a PDF or a picture, stored like files, opened by both sides."""

from collections.abc import Iterator

from data.services.files import Stored, clean_filename
from kit import storage
from kit.errors import BadRequest, Conflict, NotFound
from orders import states
from orders.errors import StepRefused
from orders.models import Order, PurchaseOrder
from orders.services.timeline import order_lock, say
from tenants import audit

MOST_BYTES = 10_000_000
MOST = 10
"""Of one order."""
BEGINNINGS = {
    b"%PDF-": "application/pdf",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
}
"""First bytes of what is taken. What the sender calls it does not count."""
ACCEPTED = ".pdf,.png,.jpg,.jpeg,application/pdf,image/png,image/jpeg"
PARAM = "document"


def purchase_order_add(
    *, order: Order, stored: Stored, filename: str, by: str, actor: tuple[str, str, str] | None = None
) -> PurchaseOrder:
    """Attach a document to an order under contract, at its acceptance or later. BadRequest for anything but a PDF, a
    PNG or a JPEG of at most MOST_BYTES; Conflict past MOST; StepRefused before the acceptance and after the end.

    The kind is told by the bytes that were kept while they arrived: nothing asks the storage under the order's lock.
    Whoever stored the bytes drops them when this raises.
    """
    row = order_lock(order)
    if row.state not in states.UNDER_CONTRACT:
        raise StepRefused("A purchase order is added from the acceptance of the quote until the order is closed.")
    if not 0 < stored.bytes <= MOST_BYTES:
        raise BadRequest(f"The document may have {MOST_BYTES:,} bytes, and must not be empty.", param=PARAM)
    if PurchaseOrder.objects.filter(order=row).count() >= MOST:
        raise Conflict(f"An order holds {MOST} purchase orders, and this one does. Send further ones in a message.")
    made: PurchaseOrder = PurchaseOrder.objects.create(
        order=row,
        filename=clean_filename(filename)[:255],
        content_type=kind_of(stored.head),
        bytes=stored.bytes,
        sha256=stored.sha256,
        storage_key=stored.key,
    )
    detail = {"name": made.filename, "sha256": made.sha256, "bytes": made.bytes}
    say(order=row, kind="paper.added", side=states.CUSTOMER, who=by, detail=detail)
    audit.record(action="order.purchase_order_added", target=row, after=detail, actor=actor)
    return made


def kind_of(head: bytes) -> str:
    """The content type by the first bytes; BadRequest for any other."""
    for beginning, kind in BEGINNINGS.items():
        if head.startswith(beginning):
            return kind
    raise BadRequest("The document must be a PDF, a PNG or a JPEG, by its content and not by its name.", param=PARAM)


def purchase_order_chunks(row: PurchaseOrder) -> Iterator[bytes]:
    """Its bytes; NotFound where the storage has them no more."""
    if not storage.exists(row.storage_key):
        raise NotFound("The document is not there any more.")
    return storage.read_chunks(row.storage_key)
