"""ETags decide whether a copy of a file is fresh, dates do not. How an image makes them is in the container tests."""

import os
from pathlib import Path

import pytest
from flask import Flask, send_file, send_from_directory
from flask.testing import FlaskClient

pytestmark = pytest.mark.usefixtures("alone")


@pytest.fixture
def client(app: Flask, tmp_path: Path) -> FlaskClient:
    """Return a client of an application that sends a file in each of Flask's ways."""
    (tmp_path / "a.css").write_text("a { color: red }")
    app.static_folder = str(tmp_path)
    app.add_url_rule("/a-file", view_func=lambda: send_file(tmp_path / "a.css"), endpoint="file")
    app.add_url_rule("/a-folder", view_func=lambda: send_from_directory(tmp_path, "a.css"), endpoint="folder")
    return app.test_client()


@pytest.mark.parametrize("path", ["/static/a.css", "/a-file", "/a-folder"])
def test_a_copy_is_fresh_while_the_etag_is_the_same(client: FlaskClient, tmp_path: Path, path: str) -> None:
    os.utime(tmp_path / "a.css", (1, 1))
    first = client.get(path, buffered=True)
    copy = {"If-None-Match": first.headers["ETag"]}
    date = {"If-Modified-Since": "Tue, 24 Nov 2099 10:00:00 GMT"}

    assert (first.status, first.text) == ("200 OK", "a { color: red }")
    assert "Last-Modified" not in first.headers
    assert client.get(path, headers=copy, buffered=True).status_code == 304
    assert client.get(path, headers=date, buffered=True).status_code == 200, "a date alone says nothing"

    os.utime(tmp_path / "a.css", (2, 2))
    assert client.get(path, headers=copy | date, buffered=True).status_code == 200
