"""The staff's console: every table read-only, a dashboard, and the few actions staff may take, each with a reason.

Nothing here edits a row in place: an action asks for a reason, calls the owning room's service, and is written to the
tenant's audit log and to the staff's own log (`ops.models.StaffAction`).
"""
