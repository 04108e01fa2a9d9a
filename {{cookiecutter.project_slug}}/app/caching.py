"""When a client may go on using its copy of a file: as long as the ETag is the same.

Dates say nothing in an image. There, each is made from the content of its file, and Flask makes the ETag from it.
"""

from flask import Flask, request
from werkzeug.wrappers import Response


def init_app(app: Flask) -> None:
    """Take no notice of dates, and tell none."""
    app.before_request(lambda: request.environ.pop("HTTP_IF_MODIFIED_SINCE", None) and None)
    app.after_request(_without_date)


def _without_date(response: Response) -> Response:
    if response.direct_passthrough:  # a file
        response.headers.pop("Last-Modified", None)
    return response
