# One of the usual ways: one stage, in which pip installs into the system's Python, and a user without rights.
# It is here to be measured against, not to be copied.
ARG BASE_IMAGE=python:3.14-slim-trixie
FROM ${BASE_IMAGE} AS runtime
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin appuser
WORKDIR /srv/app
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=bind,source=requirements.txt,target=requirements.txt \
    pip install --requirement requirements.txt
USER appuser
COPY . .
EXPOSE 5000
CMD gunicorn app:app --bind=0.0.0.0:5000
