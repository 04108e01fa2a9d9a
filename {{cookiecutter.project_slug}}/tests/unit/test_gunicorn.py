"""What gunicorn is told in the end, by its configuration, its command line and its environment together."""

import json
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


def test_gunicorn_needs_no_home_directory(told: dict[str, str]) -> None:
    assert told["control_socket_disable"] == "True", "its control socket wants a home directory that can be written to"


def played(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program that plays gunicorn: it reads the configuration, forks, and gets signals."""
    return subprocess.run(
        [sys.executable, "-c", f"import os, runpy, signal, socket, sys\n{program}"],
        cwd=PROJECT,
        env={**os.environ, **NEEDED, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


CONF = 'conf = runpy.run_path("gunicorn.conf.py")\n'


LINES = """
from gunicorn.config import Config
from gunicorn.glogging import Logger
told = Config()
told.set("logconfig_dict", conf["logconfig_dict"])
logger = Logger(told)
for log in logger.error_log, logger.access_log:
    log.error("e")
    log.info("i")
    log.debug("d")
"""


@pytest.mark.parametrize(("level", "told"), [("error", "ee"), ("info", "eiei"), ("debug", "eideid")])
def test_each_line_of_gunicorn_is_written_once(level: str, told: str) -> None:
    ended = played(CONF + LINES, LOG_LEVEL=level)

    written = "".join(json.loads(line)["message"] for line in ended.stdout.splitlines())
    assert (written, ended.stderr) == (told, ""), ended


@pytest.mark.parametrize(("both", "host"), [(True, "[::]"), (False, "0.0.0.0")])
def test_it_listens_on_ipv6_where_there_is_ipv6(both: bool, host: str) -> None:
    ended = played(f"socket.has_dualstack_ipv6 = lambda: {both}\n{CONF}print(conf['bind'])", PORT="8181")

    assert ended.stdout == f"{host}:8181\n", ended


@pytest.mark.parametrize(("worker_class", "preloaded"), [("gthread", "True"), ("gevent", "False")])
def test_the_application_is_loaded_before_the_fork_but_after_gevent(worker_class: str, preloaded: str) -> None:
    installed = "import importlib.util\nimportlib.util.find_spec = lambda name: name\n"
    ended = played(f"{installed}{CONF}print(conf['preload_app'])", WORKER_CLASS=worker_class)

    assert ended.stdout == f"{preloaded}\n", ended


@pytest.mark.parametrize(("folder", "code"), [({}, 1), ({"PROMETHEUS_MULTIPROC_DIR": "."}, 0)])
def test_metrics_need_the_command_that_prepares_them(folder: dict[str, str], code: int) -> None:
    ended = played(CONF, METRICS="prometheus", **folder)

    said = "METRICS=prometheus needs a service that is started by `python -m app`\n" if code else ""
    assert (ended.returncode, ended.stderr) == (code, said), ended


# A hook that is registered first is called last before a fork.
FORK = f"""
import gc
blocked = lambda: signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, [])
gc.disable()
os.register_at_fork(
    before=lambda: print("at the fork", blocked(), gc.get_freeze_count() > 0, gc.isenabled(), flush=True)
)
signal.signal(signal.SIGTERM, lambda *_: print("the stop of gunicorn"))
{CONF}
if not os.fork():
    signal.raise_signal(signal.SIGTERM)
    os._exit(7)
print("worker", os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
if not os.fork():
    signal.signal(signal.SIGTERM, lambda *_: os._exit(5))
    if not os.fork():
        signal.raise_signal(signal.SIGTERM)
        os._exit(7)
    code = os.waitstatus_to_exitcode(os.wait()[1])
    print("program of a worker", code, blocked(), flush=True)
    os._exit(0)
os.wait()
print("arbiter", blocked(), flush=True)
"""


def test_a_stop_is_heard_at_every_moment_of_a_fork() -> None:
    ended = played(FORK)

    assert ended.stdout.splitlines() == [
        "at the fork True True True",
        "worker 0",
        "at the fork True True True",
        "at the fork False True True",
        "program of a worker 5 False",
        "arbiter False",
    ], f"a worker that is told to stop in its first moments does not stop, or stops otherwise: {ended}"


def test_nothing_is_collected_while_the_service_is_loaded() -> None:
    ended = played("import gc, app.__main__; print(gc.isenabled())")

    assert ended.stdout == "False\n", f"the start looks for garbage in what it loads: {ended}"


# Prints each time that gunicorn's own handler of SIGTERM would begin the stop. The drain is prepared by the first fork.
DRAIN = f"""
signal.signal(signal.SIGTERM, lambda number, frame: print("stop", number, frame is not None, flush=True))
{CONF}
if not os.fork():
    os._exit(0)
os.wait()
"""


@pytest.mark.parametrize("end", ["SIGTERM", "SIGALRM"])
def test_a_drain_ends_by_its_alarm_or_a_second_sigterm(end: str) -> None:
    begin = 'signal.raise_signal(signal.SIGTERM)\nprint(conf["health"].draining(), signal.alarm(0))\n'
    ended = played(f"{DRAIN}{begin}signal.raise_signal(signal.{end})", DRAIN_DELAY="300")

    first, *then = ended.stdout.splitlines()
    assert first == "True 300", f"it stops without its drain: {ended}"
    assert then == ["stop 15 True"], f"{end} does not end the drain: {ended}"


def test_the_drain_is_for_the_arbiter_alone() -> None:
    inherited = "drain = signal.getsignal(signal.SIGTERM)\nif not os.fork():\n    drain(15, None)\nelse:\n    os.wait()"
    ended = played(DRAIN + inherited, DRAIN_DELAY="300")

    assert ended.stdout == "stop 15 False\n", f"a process that inherits the handler waits for an alarm: {ended}"


def test_a_drain_that_cannot_work_ends_the_start() -> None:
    ended = played(f"{CONF}os.fork()", DRAIN_DELAY="3")

    said = "DRAIN_DELAY cannot work: this release of gunicorn does not handle SIGTERM\n"
    assert (ended.returncode, ended.stderr) == (1, said), ended


# A worker of gunicorn, as far as it is looked at: what handles SIGTERM, and whether it has started.
END = f"""
class Worker:
    booted = "booted" in sys.argv
    def stop(self, *_): pass
{CONF}
if "worker" in sys.argv and os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
signal.signal(signal.SIGTERM, Worker().stop)
sys.exit(3)
"""


@pytest.mark.parametrize(("words", "code"), [(["worker", "booted"], 0), (["worker"], 3), (["booted"], 3)])
def test_only_a_worker_that_has_served_leaves_without_its_exit_code(words: list[str], code: int) -> None:
    ended = played(f"sys.argv += {words}\n{END}")

    assert ended.returncode == code, ended
