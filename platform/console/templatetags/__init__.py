"""Filters and tags: `look` for every page, `forms_look` for forms, and those of the pages about people."""
