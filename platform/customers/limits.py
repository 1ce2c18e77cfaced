"""How much may be written and attached."""

SUBJECT = 150
TEXT = 10_000
"""Characters of a message."""
NOTE = 4_000
TAG = 40
OPEN_THREADS = 20
"""Of one organisation, not solved."""
MESSAGES = 500
"""Of one thread."""
MESSAGES_PER_HOUR = 60
"""That one organisation writes."""
ATTACHMENT_BYTES = 10_000_000
ATTACHMENTS = 20
"""Of one thread; a message brings one at most."""
COMMENT = 2_000
"""Characters beside a satisfaction score."""
TITLE = 120
ANNOUNCEMENT = 1_000
ANNOUNCEMENTS_SHOWN = 3
NOTES = 1_000
TAGS = 20
"""Of one organisation."""
