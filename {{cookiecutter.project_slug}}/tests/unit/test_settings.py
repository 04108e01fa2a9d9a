"""The environment: defaults, values, and one clear line for each that is bad."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from app import settings
from app.settings import Settings, SettingsError

PROJECT = Path(__file__).parents[2]


def test_defaults_are_valid() -> None:
    config = Settings.from_environ({})

    assert config.web_concurrency is None
    assert config.log_level == "info"


def test_values_come_from_the_environment() -> None:
    config = Settings.from_environ({"PORT": "8080", "WEB_CONCURRENCY": "3", "LOG_FORMAT": "text"})

    assert (config.port, config.web_concurrency, config.log_format) == (8080, 3, "text")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("PORT", "http", "PORT='http' is not valid: it must be a whole number from 1 to 65535, for example "),
        ("PORT", "65536", "PORT='65536' is not valid: it must be a whole number from 1 to 65535, for example "),
        ("PORT", "", "PORT='' is not valid: it must be a whole number from 1 to 65535, for example "),
        ("WEB_CONCURRENCY", "0", "WEB_CONCURRENCY='0' is not valid: it must be a whole number from 1 to 256"),
        ("THREADS", "1_0", "THREADS='1_0' is not valid: it must be a whole number from 1 to 256, for example 8"),
        ("TIMEOUT", "\u0663", r"TIMEOUT='\u0663' is not valid: it must be a whole number from 1 to 3600, for"),
        ("LOG_LEVEL", "INFO", "LOG_LEVEL='INFO' is not valid: it must be one of debug, info, warning, error, for"),
        ("METRICS", "on", "METRICS='on' is not valid: it must be one of off, prometheus, for example off"),
        ("LOG_FORMAT", "x\ny", r"LOG_FORMAT='x\ny' is not valid: it must be one of json, text, for example json"),
    ],
)
def test_a_bad_value_is_named_with_its_rule(name: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({name: value})

    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_all_bad_values_are_reported_at_once() -> None:
    with pytest.raises(SettingsError, match=r"\APORT=.*\nTHREADS=.*\Z"):
        Settings.from_environ({"THREADS": "-1", "PORT": "9" * 10_000})


@pytest.mark.parametrize(("port", "free"), [("8080", 9464), ("9464", 9465)])
def test_metrics_need_a_port_of_their_own(port: str, free: int) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({"METRICS": "prometheus", "PORT": port, "METRICS_PORT": port})

    assert str(caught.value) == (
        f"METRICS_PORT='{port}' is not valid: it must be another than PORT, for example {free}"
    )
    assert Settings.from_environ({"PORT": port, "METRICS_PORT": port}).metrics == "off"


def test_a_bad_environment_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "none")

    with pytest.raises(SystemExit, match="PORT='none' is not valid"):
        settings.load()


def test_a_stop_fits_into_the_ten_seconds_docker_gives() -> None:
    config = Settings.from_environ({})

    assert config.drain_delay + config.graceful_timeout < 10


def test_the_readme_documents_every_variable() -> None:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    table = dict(re.findall(r"^\| `([A-Z_]+)` \| `?([^`|]+?)`? \|", readme, re.MULTILINE))

    assert table == {
        item.name.upper(): item.metadata["default"] or "from the CPU and memory limits" for item in fields(Settings)
    }
