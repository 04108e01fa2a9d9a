"""What the service accepts from a client, and what it tells a browser."""

from flask import Flask, abort, request
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.wrappers import Response

from app.settings import Settings

# The strict end of the OWASP Secure Headers Project. A view that needs more sets its own header, and that one stays.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def init_app(app: Flask, config: Settings) -> None:
    """Limit the size of bodies, trust as many proxies as there are, and set secure response headers."""
    app.config["MAX_CONTENT_LENGTH"] = config.max_body_bytes
    app.before_request(refuse_oversize_body)
    app.after_request(add_headers)
    if config.trusted_hops:
        hops = config.trusted_hops
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]


def refuse_oversize_body() -> None:
    """Answer 413 before any view runs; Flask itself would notice only when a view reads the body."""
    limit = request.max_content_length
    if limit is not None and (request.content_length or 0) > limit:
        abort(413)


def add_headers(response: Response) -> Response:
    """Add the headers that the response does not have yet."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if request.is_secure:
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    return response
