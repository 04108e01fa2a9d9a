"""Fixtures of the unit tests: the application and a client that talks to it without a server."""

from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app, errors, health, request_ids
from app.settings import Settings
from tests.unit.required import NEEDED


@pytest.fixture
def app() -> Flask:
    """Return the application with its default settings."""
    return create_app(Settings.from_environ(NEEDED))


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Return a test client of the application."""
    return app.test_client()


@pytest.fixture
def alone(app: Flask) -> None:
    """Take away what your code adds to every request and error: error pages, logins, tokens of forms."""
    _take_away_yours(app)


@pytest.fixture
def told() -> Callable[..., Flask]:
    """Return a function that makes the application with other variables, and without what your code adds."""

    def make(**variables: str) -> Flask:
        app = create_app(Settings.from_environ({**NEEDED, **variables}))
        _take_away_yours(app)
        return app

    return make


def _take_away_yours(app: Flask) -> None:
    for added in (app.before_request_funcs, app.after_request_funcs, app.error_handler_spec):
        added.clear()
    errors.init_app(app)


@pytest.fixture(autouse=True)
def nothing_left(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the readiness checks that the service has added, and what other tests have left behind."""
    request_ids.leave()
    monkeypatch.setattr(health, "_checks", {})
    monkeypatch.setattr(health, "_running", {})
