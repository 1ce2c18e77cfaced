"""Webhooks out: a project's endpoints, what is announced to them, and every try to deliver it.

Faces: `services`, `selectors`, `models`, `errors`, `catalogue` (what can be announced), `addresses` (where we
send to) and `trying` (a test of an endpoint).

    rooms above  announce:  services.event_publish(...) inside the transaction that makes it true
    task         delivers:  delivery.deliver_due(), signed, over `sending`, to addresses that `addresses` lets through
"""
