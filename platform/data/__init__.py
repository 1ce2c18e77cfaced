"""Files, datasets and their versions: read any upload, list every problem in it, write immutable versions.

Faces for other rooms: `services`, `selectors`, `models`, `errors`. The pure parts (`formats`, `columns`, `findings`,
`checks`, `profile`, `split`, `writer`, `examine`) import no Django and run in a subprocess of their own.
"""
