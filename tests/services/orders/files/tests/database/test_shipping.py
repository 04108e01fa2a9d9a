"""Orders are kept, and each is shipped once."""

from flask import Flask
from flask.testing import FlaskClient

from app import shipping


def order(client: FlaskClient, article: str) -> str:
    """Order three of an article; return where the order is found."""
    response = client.post("/orders", json={"article": article, "quantity": 3})
    assert response.status_code == 201
    return response.headers["Location"]


def test_an_order_is_kept_and_shipped(app: Flask) -> None:
    """What was ordered is listed, and says when it is under way."""
    client = app.test_client()
    place = order(client, "a böök")
    expected = {"id": 1, "article": "a böök", "quantity": 3, "shipped": False}
    assert client.get(place).json == expected
    assert client.get("/orders").json == [expected]
    assert client.get("/orders/99999999999999999999").status_code == 404

    with app.app_context():
        assert [shipping.work(), shipping.work()] == [True, False]
    assert client.get(place).json == {**expected, "shipped": True}


def test_two_workers_never_take_the_same(app: Flask) -> None:
    """While one has an order in hand, another takes the next, or has nothing to do."""
    client = app.test_client()
    first, second = order(client, "a book"), order(client, "a pen")
    with app.extensions["database"].begin() as other, app.app_context():
        other.execute(shipping.NEXT)
        assert [shipping.work(), shipping.work()] == [True, False]

    assert [client.get(place).json["shipped"] for place in (first, second)] == [False, True]  # type: ignore[index]


def test_the_service_is_ready_while_its_database_responds(app: Flask) -> None:
    """The check of readiness asks the database."""
    assert app.test_client().get("/readyz").status_code == 200
