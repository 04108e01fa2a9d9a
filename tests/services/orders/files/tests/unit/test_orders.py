"""Orders, as far as no database is asked."""

from typing import Any

import pytest
from flask.testing import FlaskClient

OBJECT = "an order is an object of article and quantity"
ARTICLE = "article must be 1 to 100 printable characters"
QUANTITY = "quantity must be a whole number from 1 to 1000"


@pytest.mark.parametrize(
    ("order", "detail"),
    [
        ([], OBJECT),
        ({"article": "a book"}, OBJECT),
        ({"article": "a book", "quantity": 1, "price": 0}, OBJECT),
        ({"article": "", "quantity": 1}, ARTICLE),
        ({"article": "a\0book", "quantity": 1}, ARTICLE),
        ({"article": "a" * 101, "quantity": 1}, ARTICLE),
        ({"article": 7, "quantity": 1}, ARTICLE),
        ({"article": "a book", "quantity": 0}, QUANTITY),
        ({"article": "a book", "quantity": 1001}, QUANTITY),
        ({"article": "a book", "quantity": "1"}, QUANTITY),
        ({"article": "a book", "quantity": True}, QUANTITY),
    ],
)
def test_what_is_not_an_order_is_refused(client: FlaskClient, order: Any, detail: str) -> None:
    response = client.post("/orders", json=order)

    assert (response.status_code, response.json and response.json["detail"]) == (422, detail)


def test_what_is_not_json_is_refused(client: FlaskClient) -> None:
    assert client.post("/orders", data="a book").status_code == 415
    assert client.post("/orders", data="{", content_type="application/json").status_code == 400
