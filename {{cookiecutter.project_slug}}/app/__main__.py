"""`python -m app` serves the application with gunicorn; gunicorn's own options may follow."""

import gc
import os
import signal

# Process 1 ignores SIGTERM until it has a handler, and gunicorn sets one only when the application is loaded.
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
# To look for garbage in what is loaded takes a twentieth of the start; gunicorn.conf.py begins with it at the fork.
gc.disable()


def main() -> None:
    """Check the environment, start the exporter of metrics if it is wanted, and hand the process over to gunicorn."""
    from app import settings

    # Before gunicorn is imported, which reads WEB_CONCURRENCY itself and reports a bad value by a traceback.
    if settings.load().metrics == "prometheus":
        _exporter = start_exporter()
    from gunicorn.app.wsgiapp import run

    run(prog="python -m app")


def start_exporter() -> object:
    """Start app/exporter.py, with a folder for the numbers of all workers; return what keeps its standard input open.

    Every process of the service inherits that, so the exporter ends with the last of them, however they end.
    """
    import subprocess
    import sys
    import tempfile

    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="metrics-")
    return subprocess.Popen([sys.executable, "-m", "app.exporter"], stdin=subprocess.PIPE)


if __name__ == "__main__":
    main()
