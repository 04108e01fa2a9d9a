"""Pictures."""

import io
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from app import pictures


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "FOLDER", tmp_path)


def add(client: FlaskClient, content: bytes) -> TestResponse:
    return client.post("/pictures", data={"picture": (io.BytesIO(content), "a.png")}, follow_redirects=True)


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "PNG")
    return file.getvalue()


def test_a_picture_is_shown_as_its_thumbnail(client: FlaskClient, tmp_path: Path) -> None:
    page = add(client, png(400, 100))
    [file] = tmp_path.iterdir()

    assert f"/pictures/{file.name}" in page.text
    with client.get(f"/pictures/{file.name}") as response:
        assert Image.open(io.BytesIO(response.data)).size == (200, 50)


@pytest.mark.parametrize("content", [b"no picture", png(5000, 5000)])
def test_what_is_no_picture_or_too_large_is_refused(client: FlaskClient, content: bytes) -> None:
    assert add(client, content).status_code == 422
