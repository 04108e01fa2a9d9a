"""Configuration: every environment variable the service reads, checked once, at start.

A field of `Settings` is a variable of the same name in capitals, and `current_app.config["NAME"]` in a view. To add
one, add a line here, a row in README.md and a line in .env.example. Each may also come from a file whose path is in
NAME_FILE.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

REQUIRED: Any = object()
SWITCH = {"yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "off": False, "0": False}


class SettingsError(ValueError):
    """One or more variables are missing or hold a value that breaks their rule; one line for each."""


class Secret(str):
    """Text that does not show in a repr, and so in no traceback, debugger or list of settings."""

    def __repr__(self) -> str:
        """Return a placeholder."""
        return "<secret>"


def _variable(default: Any, words: str, parse: Callable[[str], Any], shown: bool = True) -> Any:
    """Declare a variable. `parse` raises ValueError or LookupError where the rule that `words` describes is broken."""
    return field(metadata={"default": default, "words": words, "parse": parse, "shown": shown})


def _checked(value: Any, valid: object) -> Any:
    if not valid:
        raise ValueError
    return value


def text(default: str = REQUIRED) -> Any:
    """Declare text on one line; it may be empty only if the default is."""

    def parse(value: str) -> str:
        return str(_checked(value, value.isprintable() and (value or not default)))

    return _variable(default, "printable text on one line", parse)


def whole_number(low: int, high: int, default: int | None = REQUIRED) -> Any:
    """Declare a number in low..high. A default of None means: worked out when it is needed."""

    def parse(value: str) -> int:
        # int() alone would also take "1_000", " 7 " and digits of other scripts.
        plain = value.isascii() and value.isdigit() and len(value) < 20
        return int(_checked(value, plain and low <= int(value) <= high))

    return _variable(default, f"a whole number from {low} to {high}", parse)


def one_of(*choices: str, default: str = REQUIRED) -> Any:
    """Declare a choice, in capitals or not."""
    by_name = {choice.lower(): choice for choice in choices}
    return _variable(default, f"one of {', '.join(choices)}", lambda value: by_name[value.lower()])


def yes_no(default: bool = REQUIRED) -> Any:
    """Declare a switch; in the application it is True or False."""
    return _variable(default, "yes or no", lambda value: SWITCH[value.lower()])


def url(*schemes: str, default: str = REQUIRED) -> Any:
    """Declare a URL with one of the schemes and a host. It may hold a password, so it is treated as a secret."""

    def parse(value: str) -> Secret:
        parts = urlsplit(value)
        _ = parts.port  # raises ValueError if it is not a port
        valid = parts.scheme in schemes and parts.hostname and value.isprintable() and " " not in value
        return Secret(_checked(value, valid))

    return _variable(default, f"a URL such as {schemes[0]}://host/name", parse, shown=False)


def secret(default: str = REQUIRED) -> Any:
    """Declare text that is never printed."""
    return _variable(default, "text that is not empty", lambda value: Secret(_checked(value, value)), shown=False)


@dataclass(frozen=True)
class Settings:
    """All times are in seconds, sizes in bytes."""

    port: int = whole_number(1, 65535, default={{ cookiecutter.port }})
    web_concurrency: int | None = whole_number(1, 256, default=None)
    # What one worker and all that runs beside the workers take, and what each further one takes, rounded up. The
    # application is loaded before the fork, so workers share most of it.
    first_worker_bytes: int = whole_number(2**20, 2**40, default=56 * 2**20)
    worker_bytes: int = whole_number(2**20, 2**40, default=16 * 2**20)
    worker_class: str = one_of("gthread", "gevent", default="gthread")
    threads: int = whole_number(1, 256, default=16)
    # Docker kills a container 10 s after `docker stop`: drain, grace and a margin must fit into that.
    graceful_timeout: int = whole_number(1, 3600, default=7)
    drain_delay: int = whole_number(0, 3600, default=0)
    timeout: int = whole_number(1, 3600, default=30)
    # Longer than a load balancer keeps its idle connections (60 s in nginx and in AWS ALB by default), so that it is
    # never the server who closes a connection on which the balancer is just sending a request.
    keep_alive: int = whole_number(1, 3600, default=75)
    max_body_bytes: int = whole_number(0, 2**40, default=2**20)
    trusted_hops: int = whole_number(0, 16, default=0)
    log_level: str = one_of("debug", "info", "warning", "error", default="info")
    log_format: str = one_of("json", "text", default="json")
    metrics: str = one_of("off", "prometheus", default="off")
    # The port of OpenTelemetry's exporters for Prometheus.
    metrics_port: int = whole_number(1, 65535, default=9464)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Return the settings in `environ`; raise SettingsError with a line for every variable that is wrong."""
        values: dict[str, Any] = {}
        problems = []
        for item in fields(cls):
            try:
                values[item.name] = _value(item.name.upper(), environ, item.metadata)
            except SettingsError as error:
                problems.append(str(error))
        if values.get("worker_class") == "gevent" and not (find_spec("gevent") and find_spec("packaging")):
            problems.append("WORKER_CLASS='gevent' is not valid: gevent is not installed; lock gunicorn[gevent]")
        if values.get("metrics") == "prometheus" and values.get("metrics_port") == (port := values.get("port")):
            free = next(number for number in (9464, 9465) if number != port)
            problems.append(f"METRICS_PORT='{port}' is not valid: it must be another than PORT, for example {free}")
        if problems:
            raise SettingsError("\n".join(problems))
        return cls(**values)


def _value(name: str, environ: Mapping[str, str], rule: Mapping[str, Any]) -> Any:
    """Return the value of one variable; raise SettingsError with one line, which tells no secret."""
    default, words, shown = rule["default"], rule["words"], rule["shown"]
    found, path = environ.get(name), environ.get(f"{name}_FILE")
    if found is not None and path is not None:
        raise SettingsError(f"{name} and {name}_FILE are both set: unset one of them")
    try:
        found = found if path is None else Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        shown_path = f"={path!a}" if shown else ""  # or it might be the secret itself
        raise SettingsError(f"{name}_FILE{shown_path} cannot be read: {reason}") from None
    if found is None and default is REQUIRED:
        raise SettingsError(f"{name} is missing: it must be {words}; set it, or the path of a file in {name}_FILE")
    if found is None:
        return default if shown or default is None else Secret(default)
    try:
        return rule["parse"](found)
    except (ValueError, LookupError):
        value = f"={found[:80]!a}" if shown else ""
        example = {True: "yes", False: "no"}[default] if isinstance(default, bool) else default
        hint = f", for example {example}" if shown and example not in {None, REQUIRED, ""} else ""
        raise SettingsError(f"{name}{value} is not valid: it must be {words}{hint}") from None


def load() -> Settings:
    """Return the settings of this process's environment, or end it: exit code 1, one line per problem."""
    try:
        config = Settings.from_environ(os.environ)
        tempfile.gettempdir()
    except SettingsError as error:
        sys.exit(str(error))
    except FileNotFoundError:
        sys.exit("No directory for temporary files can be written to: mount one, for example with --tmpfs /tmp")
    return config
