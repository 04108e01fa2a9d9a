"""The service: `create_app` assembles it, one small module per concern does the work."""

from flask import Flask

from app import errors, health, request_ids, security, settings


def create_app(config: settings.Settings | None = None) -> Flask:
    """Return the WSGI application.

    Without `config` the environment is read, and a bad variable stops the process (see `settings.load`).
    """
    # Not before: what they import may make metrics, and gunicorn.conf.py has to say first how those are kept.
    from app import views

    config = config or settings.load()
    app = Flask(__name__)
    app.register_blueprint(views.blueprint)
    app.register_blueprint(health.blueprint)
    errors.init_app(app)
    security.init_app(app, config)
    request_ids.init_app(app)
    return app
