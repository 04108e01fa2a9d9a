"""The environment: values, defaults, files, and one clear line for each variable that is wrong."""

import errno
import os
import re
import tempfile
import traceback
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any

import pytest

from app import create_app, settings
from app.settings import REQUIRED, Settings, SettingsError, one_of, secret, text, url, whole_number, yes_no
from tests.unit.required import NEEDED, accepted

PROJECT = Path(__file__).parents[2]
README, EXAMPLE = PROJECT / "README.md", PROJECT / ".env.example"
BAD_VALUES = ("", "x\ny", "\0")

# Each field with a value that its rule refuses, unless it refuses none.
REFUSED = [
    pytest.param(item, value, id=item.name)
    for item in fields(Settings)
    for value in [bad for bad in BAD_VALUES if not accepted(item, bad)][:1]
]


@dataclass(frozen=True)
class Mine(Settings):
    """Settings to which an owner has added each kind, without a default and with one."""

    my_text: str = text()
    my_number: int = whole_number(1, 9)
    my_choice: str = one_of("red", "green")
    my_switch: bool = yes_no()
    my_url: str = url("postgresql", "mysql")
    my_secret: str = secret()
    text_or: str = text(default="Shop")
    empty_or: str = text(default="")
    number_or: int = whole_number(1, 9, default=5)
    none_or: int | None = whole_number(1, 9, default=None)
    choice_or: str = one_of("Lax", "Strict", default="Lax")
    switch_or: bool = yes_no(default=True)
    off_or: bool = yes_no(default=False)
    url_or: str = url("redis", default="redis://u:hunter2@cache/0")
    secret_or: str = secret(default="hunter2")


MINE = {
    "MY_TEXT": "a b",
    "MY_NUMBER": "3",
    "MY_CHOICE": "red",
    "MY_SWITCH": "no",
    "MY_URL": "postgresql://u:hunter2@db:5432/shop",
    "MY_SECRET": "hunter2",
}


def read(**environ: str) -> Mine:
    """Return settings that lack nothing but what a test changes."""
    return Mine.from_environ({**NEEDED, **MINE, **environ})


def refusal(**environ: str) -> str:
    """Return the one line with which the settings are refused."""
    with pytest.raises(SettingsError) as caught:
        read(**environ)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize(("item", "value"), REFUSED)
def test_every_setting_refuses_a_bad_value_in_one_line(item: "Field[Any]", value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({**NEEDED, item.name.upper(): value})

    line = str(caught.value)
    shown = f"={value!a}" if item.metadata["shown"] else ""
    assert line.startswith(f"{item.name.upper()}{shown} is not valid: it must be {item.metadata['words']}")
    assert line.isprintable()


@pytest.mark.parametrize("item", fields(Settings), ids=lambda item: item.name)
def test_every_default_keeps_its_own_rule(item: "Field[Any]") -> None:
    default = item.metadata["default"]

    assert default in {None, REQUIRED, ""} or item.metadata["parse"](str(default)) == default


def test_the_readme_documents_every_variable() -> None:
    table = README.read_text(encoding="utf-8").partition("\n| Variable | Default | Meaning |\n")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `([A-Z0-9_]+)` \| (.+?) \| .+ \|$", table, re.MULTILINE)

    def in_words(name: str, default: Any, shown: bool) -> str:
        if default is None:
            return "from the CPU and memory limits" if name == "web_concurrency" else "not set"
        if default in (REQUIRED, ""):
            return "empty" if default == "" else "required"
        if isinstance(default, bool):
            default = "yes" if default else "no"
        return f"`{default}`" if shown else "not shown"

    assert dict(rows) == {
        item.name.upper(): in_words(item.name, item.metadata["default"], item.metadata["shown"])
        for item in fields(Settings)
    }


@pytest.mark.skipif(not EXAMPLE.exists(), reason="only what the image needs is here")
def test_the_example_of_an_environment_has_every_variable_with_its_default() -> None:
    lines = re.findall(r"^#([A-Z0-9_]+)=(.*)$", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE)

    def as_written(default: Any, shown: bool) -> str:
        if default in (None, REQUIRED) or not shown:
            return ""
        if isinstance(default, bool):
            return "yes" if default else "no"
        return str(default)

    assert dict(lines) == {
        item.name.upper(): as_written(item.metadata["default"], item.metadata["shown"]) for item in fields(Settings)
    }


def test_a_stop_fits_into_the_ten_seconds_docker_gives() -> None:
    config = Settings.from_environ(NEEDED)

    assert config.drain_delay + config.graceful_timeout < 10


def test_what_is_not_set_has_its_default() -> None:
    config = read()

    assert (config.text_or, config.empty_or, config.number_or, config.none_or) == ("Shop", "", 5, None)
    assert (config.choice_or, config.switch_or) == ("Lax", True)
    assert (config.url_or, config.secret_or) == ("redis://u:hunter2@cache/0", "hunter2")


@pytest.mark.parametrize(
    ("name", "value", "meaning"),
    [
        ("MY_TEXT", "a b \u00e9", "a b \u00e9"),
        ("EMPTY_OR", "", ""),
        ("MY_NUMBER", "1", 1),
        ("MY_NUMBER", "09", 9),
        ("NONE_OR", "2", 2),
        ("MY_CHOICE", "green", "green"),
        ("MY_CHOICE", "GREEN", "green"),
        ("CHOICE_OR", "Strict", "Strict"),
        ("CHOICE_OR", "strict", "Strict"),
        ("LOG_LEVEL", "INFO", "info"),
        *[("MY_SWITCH", value, True) for value in ("yes", "YES", "true", "On", "1")],
        *[("SWITCH_OR", value, False) for value in ("no", "No", "FALSE", "off", "0")],
        *[("MY_URL", value, value) for value in ("mysql://db", "postgresql://[::1]:5432/x?a=b", "MYSQL://u:p@db:/")],
        ("MY_SECRET", "two\nlines ", "two\nlines "),
    ],
)
def test_a_value_comes_from_the_environment(name: str, value: str, meaning: Any) -> None:
    found = getattr(read(**{name: value}), name.lower())

    assert found == meaning
    assert isinstance(found, type(meaning))


TEXT = "is not valid: it must be printable text on one line"
NUMBER = "is not valid: it must be a whole number from 1 to 9"
URL = "MY_URL is not valid: it must be a URL such as postgresql://host/name"


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("MY_TEXT", "", f"MY_TEXT='' {TEXT}"),
        ("MY_TEXT", "x\ny", rf"MY_TEXT='x\ny' {TEXT}"),
        ("TEXT_OR", "\x1b", rf"TEXT_OR='\x1b' {TEXT}, for example Shop"),
        ("EMPTY_OR", "\0", rf"EMPTY_OR='\x00' {TEXT}"),
        ("MY_NUMBER", "", f"MY_NUMBER='' {NUMBER}"),
        ("MY_NUMBER", "0", f"MY_NUMBER='0' {NUMBER}"),
        ("NUMBER_OR", "10", f"NUMBER_OR='10' {NUMBER}, for example 5"),
        ("NONE_OR", "1_0", f"NONE_OR='1_0' {NUMBER}"),
        ("MY_NUMBER", " 1", f"MY_NUMBER=' 1' {NUMBER}"),
        ("MY_NUMBER", "-1", f"MY_NUMBER='-1' {NUMBER}"),
        ("MY_NUMBER", "\u0663", rf"MY_NUMBER='\u0663' {NUMBER}"),
        ("MY_NUMBER", "9" * 10_000, f"MY_NUMBER='{'9' * 80}' {NUMBER}"),
        ("MY_CHOICE", "blue", "MY_CHOICE='blue' is not valid: it must be one of red, green"),
        ("CHOICE_OR", "", "CHOICE_OR='' is not valid: it must be one of Lax, Strict, for example Lax"),
        ("MY_SWITCH", "maybe", "MY_SWITCH='maybe' is not valid: it must be yes or no"),
        ("SWITCH_OR", "", "SWITCH_OR='' is not valid: it must be yes or no, for example yes"),
        ("OFF_OR", "", "OFF_OR='' is not valid: it must be yes or no, for example no"),
        *[("MY_URL", value, URL) for value in ("", "db", "http://db", "mysql:db", "mysql://:1/", "mysql://db:x")],
        *[("MY_URL", value, URL) for value in (" mysql://db", "mysql://db ", "mysql://d b", "mysql://db\n")],
        ("MY_SECRET", "", "MY_SECRET is not valid: it must be text that is not empty"),
    ],
)
def test_a_bad_value_is_named_with_its_rule(name: str, value: str, line: str) -> None:
    assert refusal(**{name: value}) == line


def test_all_that_is_wrong_is_reported_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Mine.from_environ({**NEEDED, "PORT": "0", "NUMBER_OR": "", "MY_TEXT": ""})

    assert [line.partition(" ")[0] for line in str(caught.value).split("\n")] == [
        *["PORT='0'", "MY_TEXT=''", "MY_NUMBER", "MY_CHOICE", "MY_SWITCH", "MY_URL", "MY_SECRET", "NUMBER_OR=''"]
    ]
    assert (
        "MY_NUMBER is missing: it must be a whole number from 1 to 9; set it, or the path of a file in MY_NUMBER_FILE"
    ) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "meaning"),
    [
        ("MY_NUMBER", b"7\n", 7),
        ("MY_SWITCH", b"yes\r\n", True),
        ("MY_TEXT", b"h\xc3\xa9", "h\u00e9"),
        ("MY_SECRET", b" two\nlines \n", " two\nlines "),
        ("MY_SECRET", b"X\n", "X"),
    ],
)
def test_a_value_comes_from_a_file(tmp_path: Path, name: str, content: bytes, meaning: object) -> None:
    path = tmp_path / "value"
    path.write_bytes(content)
    environ = {key: value for key, value in {**NEEDED, **MINE}.items() if key != name}

    assert getattr(Mine.from_environ({**environ, f"{name}_FILE": str(path)}), name.lower()) == meaning


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path, reason in [
        (tmp_path / "nothing", os.strerror(errno.ENOENT)),
        (tmp_path / "binary", "it is not text in UTF-8"),
    ]:
        (tmp_path / "binary").write_bytes(b"hunter2\xff")
        assert refusal(TEXT_OR_FILE=str(path)) == f"TEXT_OR_FILE={str(path)!a} cannot be read: {reason}"
        assert refusal(SECRET_OR_FILE=str(path)) == f"SECRET_OR_FILE cannot be read: {reason}"


def test_a_variable_and_its_file_exclude_each_other(tmp_path: Path) -> None:
    line = "MY_SECRET and MY_SECRET_FILE are both set: unset one of them"

    assert refusal(MY_SECRET_FILE=str(tmp_path / "nothing")) == line
    assert refusal(MY_SECRET="", MY_SECRET_FILE="") == line


@pytest.mark.parametrize("in_file", [False, True], ids=["variable", "file"])
@pytest.mark.parametrize(
    "value",
    [
        "hunter2",
        "postgresql//u:hunter2@db",
        "postgresql://u:hunter2@[bad/db",
        "postgresql://u:hunter2@db:99999/x",
        "postgresql://u@db:hunter2",
        "postgresql://u:hunter2@:5432/x",
        "postgresql://u:hunter2\n@db",
        "postgresql://u:hunter2\u2100@db",
        "://hunter2",
    ],
)
def test_a_malformed_url_is_refused_without_its_password(tmp_path: Path, value: str, in_file: bool) -> None:
    (tmp_path / "url").write_text(value, encoding="utf-8", newline="")
    environ = {"URL_OR_FILE": str(tmp_path / "url")} if in_file else {"URL_OR": value}

    with pytest.raises(SettingsError) as caught:
        read(**environ)

    assert str(caught.value) == "URL_OR is not valid: it must be a URL such as redis://host/name"
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("in_file", [False, True], ids=["variable", "file"])
def test_a_secret_is_there_and_not_shown(tmp_path: Path, in_file: bool) -> None:
    environ = {**NEEDED, **MINE}
    for name in ("MY_SECRET", "MY_URL") if in_file else ():
        (tmp_path / name).write_text(environ.pop(name), encoding="utf-8")
        environ[f"{name}_FILE"] = str(tmp_path / name)
    config = Mine.from_environ(environ)
    app = create_app(config)

    assert (config.my_secret, config.my_url) == (MINE["MY_SECRET"], MINE["MY_URL"])
    assert app.config["MY_SECRET"] == app.config["SECRET_OR"] == "hunter2"
    assert app.config["MY_NUMBER"] == 3
    for shown in repr(config), f"{config}", repr(app.config), repr(config.my_secret), f"{config.my_url!a}":
        assert "hunter2" not in shown


def test_gevent_must_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for missing in ("gevent", "packaging"):  # gunicorn's worker needs both
        monkeypatch.setattr(settings, "find_spec", {"gevent": "found", "packaging": "found", missing: None}.__getitem__)
        assert refusal(WORKER_CLASS="gevent").startswith("WORKER_CLASS='gevent' is not valid: gevent is not installed")
        assert read(WORKER_CLASS="gthread").worker_class == "gthread"

    monkeypatch.setattr(settings, "find_spec", {"gevent": "found", "packaging": "found"}.__getitem__)
    assert read(WORKER_CLASS="gevent").worker_class == "gevent"


@pytest.mark.parametrize(("port", "free"), [("8080", 9464), ("9464", 9465)])
def test_metrics_need_another_port_than_the_service(port: str, free: int) -> None:
    line = f"METRICS_PORT='{port}' is not valid: it must be another than PORT, for example {free}"

    assert refusal(METRICS="prometheus", PORT=port, METRICS_PORT=port) == line
    assert read(METRICS="off", PORT=port, METRICS_PORT=port).metrics == "off"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Set what the service requires in the environment of this process."""
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_a_bad_environment_ends_the_process_with_the_line(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TIMEOUT", "none")

    with pytest.raises(SystemExit) as caught:
        settings.load()
    assert caught.value.code == (
        "TIMEOUT='none' is not valid: it must be a whole number from 1 to 3600, for example 30"
    )


def test_nowhere_to_write_ends_the_process_with_a_line(environment: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    environment.setattr(tempfile, "gettempdir", nowhere)

    with pytest.raises(SystemExit, match=r"\ANo directory for temporary files can be written to: .*--tmpfs /tmp\Z"):
        settings.load()
