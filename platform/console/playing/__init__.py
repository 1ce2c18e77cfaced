"""The playground behind its page: what can be tried (`subjects`), and how each task asks and shows (`faces`).

A task has one face: the fields it asks for (`templates/console/playground/<face>_fields.html`), what it shows
(`<face>.html`), and a module here that asks the model and prepares both. A new task is one more entry in `faces.FACES`.
"""
