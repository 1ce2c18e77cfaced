"""A local stand-in for the Stripe API, for development and tests only.

It stands apart: nothing in it imports the house or Django. It is a real HTTP
server on loopback that the official `stripe` client talks to, so the money path
can be run and tested without an account.

* `contract`: what Stripe accepts and answers, derived at start from the type
  annotations of the installed `stripe` package. Nothing is vendored.
* `world`: one store, one clock (and one for each test clock's customers), one log of events.
* `nouns`: one module per family of objects, each a small state machine.
* `pages`: the hosted pages (Checkout, portal, invoice, 3-D Secure), and pages of
  what it holds with its switches as buttons. Plain HTML, no script.
* `deliveries`: signed webhooks with retries, and switches to duplicate, reorder
  and drop them.

Its front page says how many of the client's calls it answers; an unknown one is
answered 404 and says so. What it refuses on purpose, in words: automatic tax (pass
tax rates), previews of schedules, a schedule's pauses and `phase_start` anchors,
discounts of single lines, tiered prices on invoice items, bills for time already
used at a pause.

It encodes our reading of Stripe, not Stripe itself.
"""
