"""Top floor: settings, urls, ASGI and Celery entry points, embedded engines, the process runner."""
