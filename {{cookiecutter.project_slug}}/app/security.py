"""Which proxies are believed, and what a browser is told."""

from wsgiref.types import WSGIEnvironment

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from app.settings import Settings

# The strict end of the OWASP Secure Headers Project. A view that needs something else sets its own header, which stays.
HEADERS = {"Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
# A page may load what the service itself serves. Nothing else is a page, so nothing may run in it.
PAGE = {"Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'"}
DATA = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"}
HTTPS = {"Strict-Transport-Security": "max-age=31536000"}


def init_app(app: Flask, config: Settings) -> None:
    """Believe as many proxies as there are."""
    if hops := config.trusted_hops:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]


def completed(headers: list[tuple[str, str]], environ: WSGIEnvironment) -> list[tuple[str, str]]:
    """Return the headers of a response, and the secure ones that it lacks."""
    present = {name.lower(): value for name, value in headers}
    is_page = present.get("content-type", "").startswith(("text/html", "application/xhtml"))
    wanted = HEADERS | (PAGE if is_page else DATA) | (HTTPS if environ["wsgi.url_scheme"] == "https" else {})
    return headers + [(name, value) for name, value in wanted.items() if name.lower() not in present]
