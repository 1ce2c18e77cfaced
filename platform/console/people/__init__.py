"""Pages about people: accounts, organisations, members, invitations, API keys, the audit log, settings.

`console.people.urls` is included by the console's own addresses and shares their namespace.
"""
