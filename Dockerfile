# One image for every process of Tunesmith; docker-compose.yml says which command each container runs.
FROM python:3.12-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements.lock /tmp/requirements.lock
RUN python -m venv /venv && /venv/bin/pip install --requirement /tmp/requirements.lock

FROM python:3.12-slim
ENV PATH=/venv/bin:$PATH PYTHONPATH=/app:/app/platform PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=config.settings DEBUG=false LOG_FORMAT=json TUNESMITH_HOME=/data STATIC_ROOT=/srv/static \
    PROMETHEUS_MULTIPROC_DIR=/tmp/metrics
# Confines trainers and parsers where the container may make user namespaces; see templates/docs/content/operating.md.
RUN apt-get update && apt-get install --yes --no-install-recommends bubblewrap && rm -rf /var/lib/apt/lists/*
RUN useradd --system --create-home --uid 10001 tunesmith && \
    install -d -o tunesmith /data /data/usage /data/depot /srv/static /tmp/metrics
COPY --from=build /venv /venv
COPY --chown=root:root . /app
WORKDIR /app
RUN SECRET_KEY=only-for-collecting-static-files-during-the-build-000000 ALLOWED_HOSTS=build \
    DATABASE_URL=postgresql://x@x/x OPS_DATABASE_URL=postgresql://x@x/x OWNER_DATABASE_URL=postgresql://x@x/x \
    python manage.py collectstatic --noinput && chown -R tunesmith /srv/static
USER tunesmith
EXPOSE 8000
CMD ["uvicorn", "config.asgi:application", "--host", "0.0.0.0", "--port", "8000", "--log-level", "warning", "--no-access-log", "--no-server-header", "--http", "kit.server:PatientHttp", "--ws", "none"]
