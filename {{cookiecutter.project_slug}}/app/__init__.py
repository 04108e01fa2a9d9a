"""The service: `create_app` assembles it, one small module per concern does the work."""

from dataclasses import fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from app.settings import Settings


def create_app(config: "Settings | None" = None) -> "Flask":
    """Return the WSGI application.

    Without `config` the environment is read, and a bad variable ends the process (see `settings.load`).
    """
    # Imported here, because `python -m app` imports this package first and must listen to SIGTERM before all else.
    from flask import Flask

    from app import errors, middleware, security, settings, views

    config = config or settings.load()
    app = Flask(__name__)
    app.config.from_mapping({field.name.upper(): getattr(config, field.name) for field in fields(config)})
    # One limit, not two: without this, Flask refuses fields of forms above 500 kB whatever MAX_BODY_BYTES says.
    app.config["MAX_FORM_MEMORY_SIZE"] = config.max_body_bytes
    app.register_blueprint(views.blueprint)
    errors.init_app(app)
    security.init_app(app, config)
    middleware.init_app(app, config)
    if config.metrics == "prometheus":
        from app import metrics

        metrics.init_app(app)
    return app
