"""Request ids: kept when well-formed, replaced when not."""

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import request_ids


@pytest.mark.parametrize("offered", ["a", "3f2b9c1e-0000-4000-8000-000000000000", "x" * 128])
def test_a_well_formed_id_comes_back(client: FlaskClient, offered: str) -> None:
    assert client.get("/", headers={"X-Request-ID": offered}).headers["X-Request-ID"] == offered


@pytest.mark.parametrize("offered", ["", "two words", "x" * 129, '{"level":"ERROR"}', "h\u00e9"])
def test_a_forged_id_is_replaced(client: FlaskClient, offered: str) -> None:
    given = client.get("/", headers={"X-Request-ID": offered}).headers.getlist("X-Request-ID")

    assert len(given) == 1
    assert given[0] != offered
    assert request_ids.WELL_FORMED.fullmatch(given[0])


def test_every_request_gets_an_id_of_its_own(client: FlaskClient) -> None:
    ids = {client.get("/").headers["X-Request-ID"] for _ in range(3)}

    assert len(ids) == 3


def test_the_view_knows_the_id_of_its_request(app: Flask, client: FlaskClient) -> None:
    app.add_url_rule("/whoami", view_func=lambda: str(request_ids.current()))

    assert client.get("/whoami", headers={"X-Request-ID": "me"}).text == "me"
    assert request_ids.current() is None
