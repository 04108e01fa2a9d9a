"""Orders: taken as JSON, and listed with what has become of them."""

from typing import Any

from flask import Blueprint, abort, current_app, request
from sqlalchemy import text

blueprint = Blueprint("orders", __name__, url_prefix="/orders")

INSERT = text("INSERT INTO orders (article, quantity) VALUES (:article, :quantity) RETURNING id")
ONE = text("SELECT id, article, quantity, shipped_at IS NOT NULL AS shipped FROM orders WHERE id = :id")
LATEST = text("SELECT id, article, quantity, shipped_at IS NOT NULL AS shipped FROM orders ORDER BY id DESC LIMIT 100")


@blueprint.post("")
def take() -> tuple[dict[str, int], int, dict[str, str]]:
    """Take an order; return its number."""
    order = checked(request.get_json())
    with current_app.extensions["database"].begin() as connection:
        number = connection.scalar(INSERT, order)
    return {"id": number}, 201, {"Location": f"/orders/{number}"}


@blueprint.get("")
def latest() -> list[dict[str, Any]]:
    """Return the latest orders, at most 100."""
    with current_app.extensions["database"].connect() as connection:
        return [dict(order) for order in connection.execute(LATEST).mappings()]


@blueprint.get("/<int:number>")
def show(number: int) -> dict[str, Any]:
    """Return one order."""
    with current_app.extensions["database"].connect() as connection:
        return dict(connection.execute(ONE, {"id": number}).mappings().one_or_none() or abort(404))


def checked(order: Any) -> dict[str, Any]:
    """Return what a client has ordered, or respond with what is wrong with it."""
    if not isinstance(order, dict) or order.keys() != {"article", "quantity"}:
        abort(422, "an order is an object of article and quantity")
    article, quantity = order["article"], order["quantity"]
    # PostgreSQL keeps no NUL, which is not printable.
    if not isinstance(article, str) or not 0 < len(article) <= 100 or not article.isprintable():
        abort(422, "article must be 1 to 100 printable characters")
    if not isinstance(quantity, int) or isinstance(quantity, bool) or not 0 < quantity <= 1000:
        abort(422, "quantity must be a whole number from 1 to 1000")
    return order
