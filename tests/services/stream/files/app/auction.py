"""An auction by the clock: the price falls every second, and everybody sees it fall."""

import json
import time

from flask import Blueprint, Response

from app.streams import events

blueprint = Blueprint("auction", __name__, url_prefix="/auction")
ROUND_SECONDS = 60
HIGHEST = 600


def offer(now: float) -> dict[str, int]:
    """Return round and price. They follow from the time alone, so all workers and replicas agree."""
    number, second = divmod(int(now), ROUND_SECONDS)
    return {"round": number, "price": HIGHEST - HIGHEST // ROUND_SECONDS * second}


@blueprint.get("/offer")
def show() -> dict[str, int]:
    """Return the offer of this second."""
    return offer(time.time())


@blueprint.get("/offers")
def follow() -> Response:
    """Send each offer when it is made."""
    latest = events(lambda: json.dumps(offer(time.time())))
    return Response(latest, content_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
