"""The pages of the service. Yours go here."""

from flask import Blueprint

blueprint = Blueprint("views", __name__)


@blueprint.get("/")
def index() -> str:
    """Greet the world."""
    return "<p>Hello, World!</p>"
