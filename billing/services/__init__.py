"""What changes money's tables, one module per subject: `from billing.services.subscriptions import checkout_start`."""
