"""Who: organisations, projects, people, roles, keys, isolation and the audit log.

Faces beside services, selectors, models and errors: `scope`, `isolation`, `access`, `api`, `audit`,
`idempotency`, `tasks`, `keys`, `visiting`.
"""
