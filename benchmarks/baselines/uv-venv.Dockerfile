# One of the usual ways: uv fills a virtual environment in the builder and compiles it; the runtime gets a copy.
# It is here to be measured against, not to be copied.
ARG BASE_IMAGE=python:3.14-slim-trixie

# In place of the image that uv is published in: the same program, from PyPI.
FROM ${BASE_IMAGE} AS uv
ARG UV_VERSION
RUN pip install --no-cache-dir "uv==${UV_VERSION}"

FROM ${BASE_IMAGE} AS builder
COPY --from=uv /usr/local/bin/uv /usr/local/bin/
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_SYSTEM_CERTS=1
WORKDIR /srv/app
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=bind,source=requirements.txt,target=requirements.txt \
    uv venv --quiet && uv pip install --requirement requirements.txt
COPY . .

FROM ${BASE_IMAGE} AS runtime
RUN useradd --system --user-group --create-home app
WORKDIR /srv/app
COPY --from=builder --chown=app:app /srv/app .
ENV PATH="/srv/app/.venv/bin:$PATH"
USER app
EXPOSE 5000
CMD ["gunicorn", "--bind=0.0.0.0:5000", "app:app"]
