"""The hosted pages: plain HTML forms, one style sheet, no script, a strict policy."""
