"""Files, datasets and their versions: read any upload, list every problem in it, write immutable versions.

Faces for other rooms: `services`, `selectors`, `models`, `errors`; also `limits` (what a plan has room for),
`findings_text` (findings in the reader's language) and `checks.codes` (the registry of everything they can say).
The pure parts (`formats`, `columns`, `findings`, `checks`, `profile`, `split`, `fixes`, `writer`, `examine`) import no
Django; `examine` and `writer` run in a subprocess of their own.
"""
