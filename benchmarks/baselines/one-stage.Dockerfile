# In the spirit of the shortest Dockerfile that works. It is here to be measured against, not to be copied. What pip
# imports, as root, it leaves compiled: that is why this image starts faster than the one with two stages.
ARG BASE_IMAGE=python:3.14-slim-trixie
FROM ${BASE_IMAGE}
WORKDIR /app
COPY . .
RUN pip install -r requirements.txt
EXPOSE 5000
HEALTHCHECK CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://localhost:5000/')"]
CMD ["gunicorn", "--bind", "0.0.0.0:5000", "app:app"]
