"""What changes the room's tables, one module per subject: `from tenants.services.keys import key_create`."""
