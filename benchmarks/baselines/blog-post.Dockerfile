# One of the usual ways: a virtual environment from a builder, and Flask's own server as root. Many posts on small images
# end like this. It is here to be measured against, not to be copied.
ARG BASE_IMAGE=python:3.14-slim-trixie
FROM ${BASE_IMAGE} AS builder
RUN python -m venv /opt/venv
WORKDIR /build
COPY requirements.txt .
RUN /opt/venv/bin/pip install --no-cache-dir --requirement requirements.txt

FROM ${BASE_IMAGE} AS runtime
WORKDIR /srv/app
COPY --from=builder /opt/venv /opt/venv
COPY . .
ENV PATH="/opt/venv/bin:$PATH"
EXPOSE 5000
CMD ["flask", "run", "--host=0.0.0.0"]
