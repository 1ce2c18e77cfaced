"""The tenants' web pages: landing, docs, and the console under `/o/<organisation>/`.

Views parse, call one service or selector of a lower room, and answer. Faces: `console.views.base` (the page base
class), `console.shell` (navigation) and `console.code` (samples for templates).
"""
