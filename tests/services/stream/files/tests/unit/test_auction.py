"""The auction."""

from flask.testing import FlaskClient

from app.auction import offer


def test_the_price_falls_and_begins_again() -> None:
    assert [offer(now) for now in (0, 59.9, 60)] == [
        {"round": 0, "price": 600},
        {"round": 0, "price": 10},
        {"round": 1, "price": 600},
    ]


def test_offers_are_sent_as_events(client: FlaskClient) -> None:
    with client.get("/auction/offers", buffered=False) as response:
        assert response.mimetype == "text/event-stream"
        assert next(response.iter_encoded()).startswith(b'data: {"round": ')
