"""Files, datasets and their versions: read any upload, list every problem in it, write immutable versions.

Faces for other rooms: `services`, `selectors`, `models`, `errors`; also `limits` (what a plan has room for),
`findings_text` (findings in the reader's language), `checks.codes` (the registry of everything they can say),
`roles` (which columns are what, and which task a file's rows fit), `rows` (a version's rows, a page at a time) and
`downloads` (rows that findings name).
The pure parts (`formats`, `columns`, `findings`, `checks`, `profile`, `split`, `fixes`, `writer`, `examine`) import no
Django; `examine` and `writer` run in a subprocess of their own.
"""
