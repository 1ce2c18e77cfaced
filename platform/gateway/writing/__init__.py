"""Text that models write: what /v1/chat/completions and /v1/completions share.

`bodies` (what clients send), `wishes` (what is honoured, and what is refused in words), `messages` and `tools` (a chat
as the engine reads it, and calls of tools in what it writes), `strict` (whether a call's arguments fit), `rendering`
(texts as tokens), `metered` (one call that is reserved, extended and settled), `events` (the stream to a client),
`shapes` (what both handlers answer alike), `agreement` (what a shadow is asked, and how alike two answers are),
`schema` (their part of the reference).
"""
