"""`python -m app` serves the application with gunicorn; gunicorn's own options may follow.

The environment is checked before gunicorn is imported: gunicorn reads WEB_CONCURRENCY during its import and
answers a bad value with a traceback, where the operator needs one line.
"""

from app import settings


def main() -> None:
    """Check the environment, then hand the process over to gunicorn."""
    settings.load()
    from gunicorn.app.wsgiapp import run

    run(prog="python -m app")


if __name__ == "__main__":
    main()
