"""Shipping: what the worker does with orders."""

import logging

from flask import current_app
from sqlalchemy import text

# An order that another worker has in hand is passed over, so any number of them can work at once.
NEXT = text("SELECT id FROM orders WHERE shipped_at IS NULL ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED")
SHIPPED = text("UPDATE orders SET shipped_at = now() WHERE id = :id")
_log = logging.getLogger(__name__)


def work() -> bool:
    """Ship the oldest order that is left; return whether there was one."""
    with current_app.extensions["database"].begin() as connection:
        number = connection.scalar(NEXT)
        if number:
            connection.execute(SHIPPED, {"id": number})
            _log.info("shipped", extra={"order": number})
    return number is not None
