# In the spirit of a typical blog post about small Flask images: a builder, a virtual environment, a separate user.
# It is here to be measured against, not to be copied.
ARG BASE_IMAGE=python:3.14-slim-trixie
FROM ${BASE_IMAGE} AS builder
WORKDIR /app
RUN python -m venv /opt/venv
ENV PATH="/opt/venv/bin:$PATH"
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt

FROM ${BASE_IMAGE}
RUN useradd --create-home appuser
WORKDIR /app
COPY --from=builder /opt/venv /opt/venv
COPY . .
ENV PATH="/opt/venv/bin:$PATH"
USER appuser
EXPOSE 5000
HEALTHCHECK CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://localhost:5000/')"]
CMD ["gunicorn", "--bind", "0.0.0.0:5000", "app:app"]
