"""The pages."""

from flask.testing import FlaskClient


def test_index_greets_the_world(client: FlaskClient) -> None:
    response = client.get("/")

    assert response.status_code == 200
    assert response.text == "<p>Hello, World!</p>"
    assert response.mimetype == "text/html"
