"""Configuration: every environment variable the service reads, checked once, at start.

A field of `Settings` is a variable of the same name in capitals. README.md documents each of them, and a test
keeps that table and this file in agreement.
"""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self


class SettingsError(ValueError):
    """One or more variables hold a value that breaks their rule; one line for each."""


@dataclass(frozen=True)
class Rule:
    """What a value must be, in words and in code. `parse` raises ValueError where the rule is broken."""

    words: str
    parse: Callable[[str], Any]


def whole_number(low: int, high: int) -> Rule:
    """Accept ASCII digits that stand for a number in low..high."""

    def parse(text: str) -> int:
        # int() alone would also take "1_000", " 7 " and digits of other scripts.
        if not (text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= high):
            raise ValueError(text)
        return int(text)

    return Rule(f"must be a whole number from {low} to {high}", parse)


def one_of(*choices: str) -> Rule:
    """Accept exactly one of the choices."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    return Rule(f"must be one of {', '.join(choices)}", parse)


def variable(default: str | None, rule: Rule) -> Any:
    """Declare a variable. A default of None means: worked out when it is needed."""
    return field(metadata={"default": default, "rule": rule})


@dataclass(frozen=True)
class Settings:
    """All times are in seconds, sizes in bytes."""

    port: int = variable("{{ cookiecutter.port }}", whole_number(1, 65535))
    web_concurrency: int | None = variable(None, whole_number(1, 256))
    threads: int = variable("8", whole_number(1, 256))
    # Docker kills a container 10 s after `docker stop`: drain, grace and a margin must fit into that.
    graceful_timeout: int = variable("7", whole_number(1, 3600))
    drain_delay: int = variable("0", whole_number(0, 3600))
    timeout: int = variable("30", whole_number(1, 3600))
    # Longer than a load balancer keeps its idle connections (60 s in nginx and in AWS ALB by default), so that it is
    # never the server who closes a connection on which the balancer is just sending a request.
    keep_alive: int = variable("75", whole_number(1, 3600))
    max_body_bytes: int = variable("1048576", whole_number(0, 2**40))
    trusted_hops: int = variable("0", whole_number(0, 16))
    log_level: str = variable("info", one_of("debug", "info", "warning", "error"))
    log_format: str = variable("json", one_of("json", "text"))
    metrics: str = variable("off", one_of("off", "prometheus"))
    # The one that OpenTelemetry's exporters for Prometheus have.
    metrics_port: int = variable("9464", whole_number(1, 65535))

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Return the settings that `environ` asks for; raise SettingsError naming every bad variable."""
        values: dict[str, Any] = {}
        problems = []
        for item in fields(cls):
            name, rule, default = item.name.upper(), item.metadata["rule"], item.metadata["default"]
            text = environ.get(name, default)
            try:
                values[item.name] = None if text is None else rule.parse(text)
            except ValueError:
                unset = "" if default is None else f", for example {default}"
                problems.append(f"{name}={text[:80]!a} is not valid: it {rule.words}{unset}")
        if values.get("metrics") == "prometheus" and values.get("metrics_port") == (port := values.get("port")):
            free = next(number for number in (9464, 9465) if number != port)
            problems.append(f"METRICS_PORT='{port}' is not valid: it must be another than PORT, for example {free}")
        if problems:
            raise SettingsError("\n".join(problems))
        return cls(**values)


def load() -> Settings:
    """Return the settings of this process's environment, or end it: exit code 1, one line per bad variable."""
    try:
        return Settings.from_environ(os.environ)
    except SettingsError as error:
        sys.exit(str(error))
