"""A shop: a greeting that needs nothing, and prices that need a database."""

import os
import socket

from flask import Flask, abort

app = Flask(__name__)
HOST, PORT = os.environ["DATABASE"].split(":")


def database() -> socket.socket:
    """Return a connection to the database; raise an OSError if there is none."""
    return socket.create_connection((HOST, int(PORT)), timeout=1)


@app.get("/")
def hello() -> str:
    """Return the page."""
    return "<p>Hello, World!</p>"


@app.get("/prices")
def prices() -> str:
    """Return the prices. No query stands here: that the database takes a connection is enough for the exercise."""
    try:
        database().close()
    except OSError:
        abort(503, "there are no prices without the database")
    return "<p>42</p>"


@app.get("/healthz")
def healthz() -> str:
    """Tell the platform whether to restart this container: liveness."""
    return "ok\n"


@app.get("/readyz")
def readyz() -> str:
    """Tell the platform whether to send requests to this container: readiness."""
    try:
        database().close()
    except OSError:
        abort(503, "the database is away")
    return "ok\n"
