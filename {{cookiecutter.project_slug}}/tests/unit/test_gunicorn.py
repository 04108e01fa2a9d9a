"""What gunicorn is told in the end, by its configuration, its command line and its environment together."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fcntl", reason="gunicorn does not run on Windows")
from gunicorn.config import Config

from tests.unit.required import NEEDED

PROJECT = Path(__file__).parents[2]

# Each variable with a value that is not its default, and what must follow from it in gunicorn's own configuration.
TOLD = {
    "PORT": ("8181", "bind", r":8181'\]$"),
    "WEB_CONCURRENCY": ("7", "workers", "^7$"),
    "THREADS": ("5", "threads", "^5$"),
    "GRACEFUL_TIMEOUT": ("11", "graceful_timeout", "^11$"),
    "TIMEOUT": ("13", "timeout", "^13$"),
    "KEEP_ALIVE": ("17", "keepalive", "^17$"),
    "LOG_LEVEL": ("error", "logconfig_dict", "'root': {'level': 'ERROR'"),
    "LOG_FORMAT": ("text", "logconfig_dict", "'formatter': 'text'"),
}


@pytest.fixture(scope="module")
def told() -> dict[str, str]:
    """Return the configuration that gunicorn prints of itself, with each variable set."""
    ended = subprocess.run(
        [sys.executable, "-m", "app", "--print-config"],
        cwd=PROJECT,
        env={**os.environ, **NEEDED, **{name: value for name, (value, *_) in TOLD.items()}},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    return dict(re.findall(r"^(\w+) += (.*)$", ended.stdout, re.MULTILINE))


@pytest.mark.parametrize("name", TOLD)
def test_a_variable_reaches_gunicorn(told: dict[str, str], name: str) -> None:
    value, setting, expected = TOLD[name]
    found = told[setting]

    assert re.search(expected, found), f"{name}={value} has no effect: gunicorn has {setting} = {found}"


def test_every_logger_of_gunicorn_follows_the_level(told: dict[str, str]) -> None:
    levels = set(re.findall(r"'level': '(\w+)'", told["logconfig_dict"]))

    assert levels == {"ERROR"}, f"LOG_LEVEL=error leaves loggers at {levels}"


# What decides whom gunicorn believes, and what it takes for HTTP.
BELIEVED = re.compile("forwarder_|secure_scheme|proxy_|header_map|permit_|strip_|tolerate_|casefold_|reload|raw_env")


@pytest.mark.parametrize("name", [name for name in Config().settings if BELIEVED.match(name)])
def test_gunicorn_believes_no_more_than_by_default(told: dict[str, str], name: str) -> None:
    default = Config().settings[name].get()

    assert told[name] == str(default), f"{name} = {told[name]}: leave gunicorn's default, {default}"


def test_gunicorn_trusts_no_proxy_by_itself(told: dict[str, str]) -> None:
    assert told["forwarded_allow_ips"] == "[]", (
        f"gunicorn itself believes X-Forwarded-Proto and SCRIPT_NAME from {told['forwarded_allow_ips']}; only "
        'TRUSTED_HOPS may say who is believed: leave forwarded_allow_ips = "" in gunicorn.conf.py'
    )


# Plays gunicorn: prints each time that its own handler of SIGTERM would begin the stop.
DRAIN = """
import os, runpy, signal
signal.signal(signal.SIGTERM, lambda *_: print("stop"))
conf = runpy.run_path("gunicorn.conf.py")
conf["prepare_the_drain"](os.getpid(), 300)
for number in (1, 2):
    print("SIGTERM", number)
    os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_second_sigterm_cuts_the_drain_short() -> None:
    environ = {**os.environ, **NEEDED}
    program = [sys.executable, "-c", DRAIN]
    ended = subprocess.run(program, cwd=PROJECT, env=environ, capture_output=True, text=True, check=False, timeout=60)

    assert ended.stdout.split("\n")[:2] == ["SIGTERM 1", "SIGTERM 2"], f"it stops without its drain: {ended}"
    assert ended.stdout.endswith("SIGTERM 2\nstop\n"), f"a second SIGTERM does not cut the drain short: {ended}"
