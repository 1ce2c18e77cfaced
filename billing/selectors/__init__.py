"""What reads money's tables, one module per subject: `from billing.selectors.subscriptions import entitlement_for`."""
