"""The service: `create_app` assembles it, one small module per concern does the work."""

import sys
from dataclasses import fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from app.settings import Settings

# In the image Python may put imports off until a name is used (PEP 810). The standard library and these packages do so,
# as no request needs all that they import. All others import at once, as yours do: a broken import has to stop the
# start, and not every package bears it. blinker, for one, would import at the very end.
LAZY = {"click", "flask", "gunicorn", "itsdangerous", "jinja2", "markupsafe", "packaging", "werkzeug"}
if sys.version_info >= (3, 15) and sys.get_lazy_imports() == "all":
    put_off = LAZY | sys.stdlib_module_names
    sys.set_lazy_imports_filter(lambda importer, *_: importer.partition(".")[0] in put_off)


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
