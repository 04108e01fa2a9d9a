"""What the contract must know of a service: `[tool.container-contract]` in pyproject.toml, or options of pytest.

Nothing has to be said of a service like the first page of this one. These are the keys, with their defaults:

    [tool.container-contract]
    page = { path = "/", status = 200, text = "" }  # proves that the service serves; a redirect is not followed
    environment = {}                                # variables without which it neither starts nor serves
    services = []                                   # services of compose.yaml that must run beside it
    volumes = []                                    # folders that it writes to; each gets an empty volume

    [tool.container-contract.budget]                # megabytes of 10**6 bytes
    added = 21                                      # on disk, above the base image
    on_disk = 150                                   # all layers; distroless: 57
    compressed = 60                                 # all layers; distroless: 21
    layers = 12

    [tool.container-contract.off]                   # a row or a test that this service cannot meet, and the reason
    10 = "brings a model of 200 MB"
    test_errors_are_problem_details = "the first edition of the API promises another format"

A larger `added` makes `on_disk` and `compressed` larger by the same, unless they are given. What a worker may take in
memory stands in app/settings.py: the
service itself works out its workers with it.
"""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings
from tests.container.docker import PROJECT, Page
from tests.container.scorecard import ROWS

MIB = 2**20
# Megabytes on disk and compressed, all layers, of an image that adds no more to its base than the default.
WHOLE = {"slim": (150, 60), "distroless": (57, 21)}


class ConfigurationError(ValueError):
    """The configuration of the contract is wrong; one line for each problem, with a value that would work."""


@dataclass(frozen=True)
class Budget:
    """What an image may weigh, in megabytes of 10**6 bytes, and what its processes may take, in bytes."""

    added: int = 21
    on_disk: int | None = None
    compressed: int | None = None
    layers: int = 12
    first_worker_bytes: int = 56 * MIB
    worker_bytes: int = 16 * MIB

    def whole(self, kind: str) -> tuple[int, int]:
        """Return the megabytes of all layers of a slim or distroless image, on disk and compressed."""
        more = self.added - Budget.added
        on_disk, compressed = WHOLE[kind]
        return self.on_disk or on_disk + more, self.compressed or compressed + more

    @property
    def smallest_limit(self) -> int:
        """Return the bytes of memory that are enough for one worker under load: its own, and half of a further one."""
        return self.first_worker_bytes + self.worker_bytes // 2


PAGE, BUDGET = Page(), Budget()


@dataclass(frozen=True)
class Configuration:
    """What the contract knows of a service; `network` is the one of the services beside it."""

    page: Page = PAGE
    environment: Mapping[str, str] = field(default_factory=dict)
    services: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    budget: Budget = BUDGET
    off: Mapping[str, str] = field(default_factory=dict)
    network: str = ""

    @property
    def run_options(self) -> tuple[str, ...]:
        """Return the options of `docker run` without which the service cannot do its work."""
        network = (f"--network={self.network}",) if self.network else ()
        variables = (f"--env={name}={value}" for name, value in self.environment.items())
        return (*network, *variables, *(f"--volume={folder}" for folder in self.volumes))


# ---- the project's own image: pyproject.toml ----


def read(pyproject: Path = PROJECT / "pyproject.toml") -> Configuration:
    """Return what pyproject.toml says of the service, and app/settings.py of its memory; raise ConfigurationError."""
    table = tomllib.loads(pyproject.read_text(encoding="utf-8")).get("tool", {}).get("container-contract", {})
    if problems := "\n".join(_problems(table, RULES, "")):
        raise ConfigurationError(problems)
    memory = {item.name: item.metadata["default"] for item in fields(Settings) if item.name.endswith("worker_bytes")}
    return Configuration(
        Page(**table.get("page", {})),
        table.get("environment", {}),
        tuple(table.get("services", ())),
        tuple(table.get("volumes", ())),
        Budget(**table.get("budget", {}), **memory),
        table.get("off", {}),
    )


@dataclass(frozen=True)
class Rule:
    """What a value must be, in words with an example, and whether it is."""

    words: str
    holds: Callable[[Any], object]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_list(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_table(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


NUMBER = Rule("a whole number above 0, such as 40", _is_number)
RULES: Mapping[str, Any] = {
    "page": {
        "path": Rule('a path, such as "/login"', lambda value: _is_text(value) and value.startswith("/")),
        "status": Rule("a status of HTTP, such as 302", lambda value: _is_number(value) and 200 <= value < 600),
        "text": Rule('text that stands in the page, such as "Log in"', lambda value: isinstance(value, str)),
    },
    "environment": Rule('a table of text, such as { LOG_LEVEL = "debug" }', _is_table),
    "services": Rule('a list of services of compose.yaml, such as ["database"]', _is_list),
    "volumes": Rule(
        'a list of folders, such as ["/data"]',
        lambda value: _is_list(value) and all(folder.startswith("/") for folder in value),
    ),
    "budget": dict.fromkeys(("added", "on_disk", "compressed", "layers"), NUMBER),
    "off": Rule(
        'a table of rows and tests with a reason each, such as { 10 = "brings a model of 200 MB" }',
        lambda value: _is_table(value) and all(value.values()),
    ),
}


def _problems(table: Any, rules: Mapping[str, Any], above: str) -> Iterator[str]:
    """Yield a line for each key that is unknown, and for each value that breaks its rule."""
    where = f"pyproject.toml, [tool.container-contract]: {above}"
    if not isinstance(table, dict):
        yield f"{where.rstrip('.')} = {table!r} is not valid: it must be a table of {', '.join(rules)}"
        return
    for key, value in table.items():
        rule = rules.get(key)
        if rule is None:
            yield f"{where}{key} is unknown: there are {', '.join(rules)}"
        elif not isinstance(rule, Rule):
            yield from _problems(value, rule, f"{above}{key}.")
        elif not rule.holds(value):
            yield f"{where}{key} = {value!r} is not valid: it must be {rule.words}"
        elif key == "off":
            yield from (f"{where}off.{name} is {WHAT_CAN_BE_OFF}" for name in value if not _can_be_off(name))


WHAT_CAN_BE_OFF = f"unknown: name a row, 1 to {len(ROWS)}, or a test, such as test_errors_are_problem_details"


def _can_be_off(name: str) -> bool:
    tests = "".join(file.read_text(encoding="utf-8") for file in Path(__file__).parent.glob("test_*.py"))
    return name in map(str, ROWS) or re.search(rf"^def {re.escape(name)}\(", tests, re.MULTILINE) is not None


# ---- any other image: options ----

LIMITS = tuple(item.name for item in fields(Budget))


def add_options(group: pytest.OptionGroup) -> None:
    """Add what can be said of the service in another image."""
    again = {"action": "append", "default": []}
    group.addoption("--page", default="/", help="the page that proves that the service serves (default: /)")
    group.addoption("--status", type=int, default=200, help="the status of that page (default: 200)")
    group.addoption("--text", default="", help="text that stands in that page")
    group.addoption("--env", **again, metavar="NAME=VALUE", help="a variable that the service needs; may be repeated")
    group.addoption("--volume", **again, metavar="FOLDER", help="a folder that it writes to; may be repeated")
    group.addoption("--network", default="", help="the network of the containers that it needs")
    group.addoption("--budget", **again, metavar="NAME=NUMBER", help=f"one of {', '.join(LIMITS)}; may be repeated")
    group.addoption("--off", **again, metavar="NAME=REASON", help="a row or test not to be asked; may be repeated")


def told(options: pytest.Config) -> Configuration:
    """Return what the options say; raise ConfigurationError."""
    environment, limits, off = (_pairs(name, options.getoption(name)) for name in ("--env", "--budget", "--off"))
    for name, value in limits.items():
        if name not in LIMITS or not value.isdigit():
            example = f"--budget added=40, or another of {', '.join(LIMITS)}"
            raise ConfigurationError(f"--budget {name}={value} is not valid: write {example}")
    if unknown := [name for name in off if not _can_be_off(name)]:
        raise ConfigurationError(f"--off {unknown[0]} is {WHAT_CAN_BE_OFF}")
    return Configuration(
        Page(options.getoption("--page"), options.getoption("--status"), options.getoption("--text")),
        environment,
        volumes=tuple(options.getoption("--volume")),
        budget=Budget(**{name: int(value) for name, value in limits.items()}),
        off=off,
        network=options.getoption("--network"),
    )


def _pairs(option: str, values: list[str]) -> dict[str, str]:
    """Return what NAME=VALUE says."""
    for value in values:
        if not re.match(r"\w+=.", value):
            raise ConfigurationError(f"{option} {value} is not valid: write NAME=VALUE")
    return dict(value.split("=", 1) for value in values)
