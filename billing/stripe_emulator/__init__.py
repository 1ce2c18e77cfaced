"""A local stand-in for the Stripe API, for development and tests only.

It stands apart: nothing in it imports the house or Django. It is a real HTTP
server on loopback that the official `stripe` client talks to, so the money path
can be run and tested without an account.

* `contract`: what Stripe accepts and answers, derived at start from the type
  annotations of the installed `stripe` package. Nothing is vendored.
* `world`: one store, one clock, one log of events.
* `nouns`: one module per family of objects, each a small state machine.
* `pages`: the hosted pages (Checkout, portal, invoice), plain HTML, no script.
* `deliveries`: signed webhooks with retries, and switches to duplicate, reorder
  and drop them.

It encodes our reading of Stripe, not Stripe itself.
"""
