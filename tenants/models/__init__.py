"""The room's tables."""

from tenants.models.audit import AuditEvent
from tenants.models.base import (
    HouseModel,
    LastingModel,
    OpsManager,
    ProjectModel,
    StaffModel,
    TenantManager,
    TenantModel,
)
from tenants.models.idempotency import IdempotentRequest
from tenants.models.keys import ApiKey
from tenants.models.organisations import Invitation, Member, Project, Role, Tenant
from tenants.models.users import User
from tenants.models.visits import Visit

__all__ = [
    "ApiKey",
    "AuditEvent",
    "HouseModel",
    "IdempotentRequest",
    "Invitation",
    "LastingModel",
    "Member",
    "OpsManager",
    "Project",
    "ProjectModel",
    "Role",
    "StaffModel",
    "Tenant",
    "TenantManager",
    "TenantModel",
    "User",
    "Visit",
]
