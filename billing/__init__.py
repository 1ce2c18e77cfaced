"""Money: plans, quotas, metering, prices, ledger, and the one port to the payment provider.

Doors for other rooms, besides `services`, `selectors`, `models` and `errors`:

- `billing.quotas`   reserve, extend, settle, release; `QuotaGate` for the gateway (no Django)
- `billing.metering` usage events, their local write-ahead files and the shipper (no Django)
- `billing.prices`   immutable price books and the pure `rate` (no Django)
- `billing.plans`    immutable plan files, and the pure `entitlement_derive` (no Django)

`billing.stripe_emulator` stands apart: it imports nothing of the house, and nothing imports it.
"""
