# One of the usual ways: the image that runs has the tools of its build as well, here uv, and curl for the health check.
# It is here to be measured against, not to be copied.
ARG BASE_IMAGE=python:3.14-slim-trixie

# In place of the image that uv is published in: the same program, from PyPI.
FROM ${BASE_IMAGE} AS uv
ARG UV_VERSION
RUN pip install --no-cache-dir "uv==${UV_VERSION}"

FROM ${BASE_IMAGE} AS builder
COPY --from=uv /usr/local/bin/uv /usr/local/bin/
ENV UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never UV_SYSTEM_CERTS=1
WORKDIR /build
COPY requirements.txt .
RUN uv venv --quiet /home/python/.local && uv pip install --python /home/python/.local --requirement requirements.txt

FROM ${BASE_IMAGE} AS runtime
RUN apt-get update \
 && apt-get install --yes --no-install-recommends curl \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home python
USER python
WORKDIR /srv/app
COPY --from=uv /usr/local/bin/uv /usr/local/bin/
COPY --from=builder --chown=python:python /home/python/.local /home/python/.local
COPY --chown=python:python . .
ENV PATH="/home/python/.local/bin:$PATH" PYTHONUNBUFFERED=1
EXPOSE 5000
HEALTHCHECK CMD ["curl", "--fail", "--silent", "http://localhost:5000/"]
CMD ["gunicorn", "--bind=0.0.0.0:5000", "app:app"]
