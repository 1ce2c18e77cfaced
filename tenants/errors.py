"""Errors of this room."""

from kit.errors import Conflict, PermissionDenied, Unauthenticated


class KeyRefused(Unauthenticated):
    """The key is missing, malformed, unknown, revoked or expired. One wording, so that guessing teaches nothing."""

    def __init__(self, hint: str = "") -> None:
        super().__init__(
            hint
            or "Incorrect API key. Send 'Authorization: Bearer ts_live_…'; keys are made under API keys in the console."
        )


class TenantSuspended(PermissionDenied):
    """The organisation may not work at present."""

    default_code = "organization_suspended"

    def __init__(self) -> None:
        super().__init__("This organisation is suspended. Write to support to have it reopened.")


class VisitReadOnly(PermissionDenied):
    """Staff on a visit look and change nothing."""

    default_code = "visit_read_only"

    def __init__(self) -> None:
        super().__init__("You are viewing this organisation as staff: you can look, and change or download nothing.")


class LastProject(Conflict):
    """An organisation keeps at least one project."""

    def __init__(self) -> None:
        super().__init__("This is the last project. Make another one first.")


class LastOwner(Conflict):
    """An organisation keeps at least one owner."""

    def __init__(self) -> None:
        super().__init__("This is the last owner. Make another member an owner first.")
