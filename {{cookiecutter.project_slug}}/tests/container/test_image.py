"""The contract, rows 1 to 10: what can be read from an image without running its service."""

import gzip
import re
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import PurePosixPath
from typing import Any

import pytest

from app.settings import Settings
from tests.container import docker
from tests.container.configuration import Configuration

MEGABYTE = 10**6
EXECUTABLE_FOLDERS = {"/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/venv/bin"}
BUILD_TOOLS = re.compile(r"(pip|easy_install)[0-9.]*|(gcc|g\+\+|cc|c\+\+|clang|make)(-[0-9]+)?|curl|wget")
SHELLS_AND_SYSTEM_TOOLS = re.compile(
    r"((ba|da|z|a|k|c)?sh|busybox|env|apt(-get)?|dpkg|apk|rpm|perl|find|cat|su|mount|login)"
)

# From 3.15 on, Python puts imports off if it is told to: until a name is used, its module holds something in its place.
# Read in a function: a variable of a module would be a use.
PRINT_IMPORTS_PUT_OFF = """
import app, sys
def put_off(module):
    return [name for name, value in vars(module).items() if type(value).__name__ == "lazy_import"]
if getattr(sys, "get_lazy_imports", str)() == "all":
    app.create_app()
    loaded = {name: put_off(sys.modules[name]) for name in [*sys.modules] if name.split(".")[0] == "app"}
    print(*(f"{name}: {names}" for name, names in loaded.items() if names), sep="\\n")
"""


def _programs(image: docker.Image, names: re.Pattern[str]) -> list[str]:
    """Return the paths of the programs of the image that have one of the names."""
    paths = [path for path in map(PurePosixPath, image.files) if str(path.parent) in EXECUTABLE_FOLDERS]
    return [str(path) for path in paths if names.fullmatch(path.name) and image.is_executable(str(path))]


@pytest.mark.row(1)
def test_user_is_numeric_and_not_root(built: docker.Image) -> None:
    """A service that is broken into as root owns its container, and with a kernel bug its host.

    Kubernetes' runAsNonRoot cannot judge a name, so the user must be a number. Fix: `USER 10001:10001`.
    """
    user = built.config.get("User") or "root (none is set)"

    assert re.fullmatch(r"[0-9]+(:[0-9]+)?", user), f"USER is {user}: it must be a number"
    assert int(user.split(":")[0]) != 0, "USER is 0, which is root"


@pytest.mark.row(2)
def test_command_is_in_exec_form(built: docker.Image) -> None:
    """In shell form a shell is process 1, and it does not pass SIGTERM on: every stop takes 10 s and ends in SIGKILL.

    Fix: `CMD ["python", "-m", "app"]`.
    """
    assert built.command, "neither ENTRYPOINT nor CMD is set"
    shell = built.command[0].rsplit("/", 1)[-1] in {"sh", "bash", "dash", "ash"} and "-c" in built.command[1:3]
    assert not shell, f"the command is in shell form: {built.command}"


@pytest.mark.row(2)
def test_stop_signal_is_sigterm(built: docker.Image) -> None:
    """On SIGTERM gunicorn finishes the requests in flight, on SIGINT or SIGQUIT it drops them.

    Fix: `STOPSIGNAL SIGTERM`.
    """
    signal = built.config.get("StopSignal") or "SIGTERM"

    assert signal in {"SIGTERM", "15"}, f"STOPSIGNAL is {signal}"


@pytest.mark.row(3)
def test_health_check_exists_and_works(image: docker.Image) -> None:
    """Without a health check nobody notices a service that hangs; one that calls a missing curl is always unhealthy.

    Fix: a HEALTHCHECK in exec form that uses the interpreter the image has anyway.
    """
    check = (image.config.get("Healthcheck") or {}).get("Test") or ["NONE"]
    assert check[0] == "CMD", f"HEALTHCHECK must be there, in exec form; it is {check}"

    with docker.started(image, "--health-interval", "1s") as container:
        container.wait_until_health_is("healthy", 60)
        assert container.state["Health"]["Log"][-1]["ExitCode"] == 0


@pytest.mark.row(3)
def test_health_check_fails_where_nothing_listens(built: docker.Image) -> None:
    """A check that always succeeds is worse than none. Fix: let its exit code tell what /healthz answered."""
    check = (built.config.get("Healthcheck") or {}).get("Test") or ["NONE"]
    done = built.run_to_end("--entrypoint", check[1], arguments=check[2:], check=False)

    assert done.returncode == 1, f"exit code {done.returncode} without a service: {done.stdout}{done.stderr}"


@pytest.mark.row(3)
def test_a_service_that_hangs_is_noticed_soon(built: docker.Image) -> None:
    """A check that asks too seldom, or forgives too often, restarts a hanging service long after its users have gone.

    At most two minutes, and each probe a few seconds. Fix: HEALTHCHECK --interval=30s --timeout=3s --retries=3.
    """
    check = built.config.get("Healthcheck") or {}
    # Nanoseconds; what is not set has Docker's default.
    interval, timeout = ((check.get(name) or 30 * 10**9) / 10**9 for name in ("Interval", "Timeout"))
    retries = check.get("Retries") or 3

    assert interval * retries <= 120, f"--interval={interval:g}s and --retries={retries}: noticed after minutes"
    assert timeout <= interval, f"--timeout={timeout:g}s: a probe that hangs is noticed late; --timeout=3s"


@pytest.mark.row(4)
@pytest.mark.parametrize("name", ["title", "description", "version", "revision", "created", "base.name"])
def test_label_is_there(built: docker.Image, name: str) -> None:
    """Labels answer "what is this, from which commit, on which base?" when the image is found running somewhere.

    Fix: a LABEL with the names of the OCI image specification.
    """
    assert built.labels.get(f"org.opencontainers.image.{name}"), f"label {name} is missing; there are {built.labels}"


@pytest.mark.row(4)
@pytest.mark.usefixtures("project_only")
def test_labels_carry_what_the_build_was_told(built: docker.Image) -> None:
    """A label that is frozen tells a lie. Fix: declare ARG VERSION, REVISION and CREATED before the LABEL."""
    told = {name: built.labels[f"org.opencontainers.image.{name.lower()}"] for name in docker.VERSION_ARGUMENTS}

    assert told == docker.VERSION_ARGUMENTS


@pytest.mark.row(4)
@pytest.mark.usefixtures("project_only")
def test_the_base_is_the_one_of_the_dockerfile(built: docker.Image) -> None:
    """Who looks for all images on a broken base trusts the label. Fix: the same name in FROM and base.name."""
    named = re.search(r"^FROM (\S+)", (docker.PROJECT / "Dockerfile").read_text(), re.MULTILINE)

    assert named, "the Dockerfile has no FROM"
    assert built.labels["org.opencontainers.image.base.name"] == named[1]


@pytest.fixture(scope="module")
def lookups(built: docker.Image) -> dict[str, Any]:
    """Return what a program finds in the image."""
    found: dict[str, Any] = built.run_injected("lookups.py")
    return found


@pytest.mark.row(4)
@pytest.mark.usefixtures("project_only")
def test_python_is_the_one_of_the_base(built: docker.Image, lookups: dict[str, Any]) -> None:
    """A stage on another base ships what neither the label nor CI knows of. Fix: one FROM for all stages."""
    base = built.labels["org.opencontainers.image.base.name"]
    named = re.search(r"\bpython:(\d+\.\d+(\.\d+)?)", base)
    if not named:
        pytest.skip(f"not applicable: {base} does not say which Python it has")

    assert f"{lookups['python']}.".startswith(f"{named[1]}."), f"Python {lookups['python']} in an image from {base}"


@pytest.mark.row(5)
def test_exactly_one_port_is_exposed_and_serves(image: docker.Image, service: docker.Container) -> None:
    """Tools and people read EXPOSE to learn where the service is; a port too many looks like a second service.

    Fix: one EXPOSE line with the port of PORT.
    """
    assert len(image.ports) == 1, f"exposed: {image.ports}"
    assert service.request().status == service.page.status


@pytest.mark.row(6)
def test_no_build_tools(built: docker.Image) -> None:
    """What builds software or fetches it also serves an intruder, and every scanner lists its vulnerabilities.

    Fix: build in a separate stage and copy only the virtual environment; remove the pip of the base.
    """
    found = _programs(built, BUILD_TOOLS)

    assert not found, f"build tools in the image: {found}"


# Debian's slim image has none of them.
NETWORK_TOOLS = re.compile(r"nc(\.\w+)?|netcat|ncat|socat|ssh|scp|sftp|telnet|ftp|rsync|git|nmap|tcpdump")


@pytest.mark.row(6)
@pytest.mark.usefixtures("project_only")
def test_no_tool_of_the_network_is_added(built: docker.Image) -> None:
    """What speaks to other hosts carries data out and programs in. Fix: borrow the tools of another image."""
    found = _programs(built, NETWORK_TOOLS)

    assert not found, f"tools of the network in the image: {found}"


@pytest.mark.row(6)
def test_no_installer_can_be_imported(built: docker.Image) -> None:
    """`python -m pip` needs no executable, and ensurepip makes a pip out of nothing. Fix: remove them all."""
    installer = re.compile(r"/python3[^/]*/(site-packages/)?(pip|setuptools|ensurepip)/__init__\.pyc?$")
    found = [path for path in built.files if installer.search(path)]

    assert not found, f"installers in the image: {found}"


@pytest.mark.row(6)
@pytest.mark.usefixtures("project_only")
def test_a_distroless_image_has_neither_shell_nor_package_manager(built: docker.Image) -> None:
    """What is not there cannot be used by an intruder, and no scanner lists its vulnerabilities.

    Fix: copy into a stage FROM scratch only what the service needs; see `distroless.sh`.
    """
    found = _programs(built, SHELLS_AND_SYSTEM_TOOLS)

    assert not found or docker.runtime() == "slim", f"in a distroless image: {found}"


# Names of what is secret. That of the key which the official image is checked by is none.
SECRET = re.compile(r"(?i)(?!GPG_KEY$)\w*((PASS(WORD|WD|PHRASE)|SECRET|TOKEN|CREDENTIAL)\w*|_PWD|KEY|DSN)(?<!_FILE)")
LOGIN = re.compile(r"://[^/@\s:]*:[^/@\s]+@")


@pytest.mark.row(7)
@pytest.mark.usefixtures("project_only")
def test_no_variable_of_the_image_holds_a_secret(built: docker.Image) -> None:
    """Everybody who can pull the image reads its variables, its labels and the arguments of its build.

    Fix: no ENV and no ARG for it; pass it at run time, or to a build by --mount=type=secret.
    """
    own = {item.name.upper() for item in fields(Settings) if not item.metadata["shown"]}
    given = [*(built.config.get("Env") or ()), *(f"{name}={value}" for name, value in built.labels.items())]
    given += re.findall(r"\b[A-Z][A-Z0-9_]*=\S+", built.history)
    pairs = [one.partition("=")[::2] for one in given]
    found = [name for name, value in pairs if value and (SECRET.fullmatch(name) or name in own or LOGIN.search(value))]

    assert not found, f"everybody who pulls the image reads {', '.join(dict.fromkeys(found))}"


@pytest.mark.row(8)
@pytest.mark.usefixtures("project_only")
def test_certificates_time_zones_and_names_are_found(lookups: dict[str, Any]) -> None:
    """What is opened by its name is missed first by the request that needs it, such as one to another service by TLS.

    Fix: distroless.sh, where certificates, time zones and names are copied.
    """
    assert not lookups["missing"], f"in the image there is no way to find {', '.join(lookups['missing'])}"


@pytest.mark.row(8)
def test_every_extension_of_python_can_be_loaded(built: docker.Image) -> None:
    """An extension whose library is missing fails when a request needs it first. Fix: copy what `ldd` names."""
    loaded = built.run_injected("extensions.py")

    assert not loaded["failed"], f"these cannot be loaded: {loaded['failed']}"
    assert loaded["count"] > 20, f"only {loaded['count']} extensions were found: where is the standard library?"


@pytest.mark.row(8)
def test_all_code_is_compiled(built: docker.Image) -> None:
    """A process that cannot write compiles what is not compiled at every start, in every worker, in every health check.

    Fix: `python -m compileall --invalidation-mode unchecked-hash` for the standard library, the virtual environment
    and the code. By hash, because a time stamp is stale as soon as something rewrites the dates of a layer.
    """
    found = built.run_injected("bytecode.py")

    compiled = found.pop("valid", [])
    assert not found, "; ".join(f"{len(modules)} modules {what}, {modules[:3]} …" for what, modules in found.items())
    assert len(compiled) > 500, f"only {len(compiled)} modules were found: where is the standard library?"


@pytest.mark.row(8)
def test_a_start_writes_no_bytecode(image: docker.Image) -> None:
    """What a start writes into the container is work that every start repeats. Fix: compile at build time."""
    with docker.started(image, options=()) as container:
        container.wait_until_serving()
        changed = docker.run("diff", container.identity).stdout.splitlines()

    assert not [line for line in changed if "__pycache__" in line]


@pytest.mark.row(8)
@pytest.mark.usefixtures("project_only")
def test_whatever_the_service_imports_is_loaded_at_its_start(service: docker.Container) -> None:
    """An import that waits for its first use fails in a request, not at the start.

    Fix: the filter in app/__init__.py.
    """
    done = docker.run("exec", service.identity, "python3", "-c", PRINT_IMPORTS_PUT_OFF)

    assert not done.stdout.strip(), f"imported only when they are used: {done.stdout.splitlines()}"


@pytest.mark.row(9)
def test_code_is_not_writable(built: docker.Image) -> None:
    """Who can change the code that runs has more than a bug to use: it survives the next restart of the worker.

    Who can write to a folder can put another file in the place of each that is in it. Fix: let everything belong to
    root, readable by all; no chown to the user of the service.
    """
    user, _, group = built.config.get("User", "").partition(":")
    suffixes = (".py", ".pyc", ".so", "/pyvenv.cfg")
    code = {path for path in built.files if path.endswith(suffixes) or "/site-packages" in path}
    code |= {path for path in built.files if path.startswith("/srv/")}
    folders = {str(folder) for path in code for folder in PurePosixPath(path).parents}
    writable = [
        path
        for path, file in built.files.items()
        if path in code | folders and not file.issym()
        if file.mode & stat.S_IWOTH
        or (file.mode & stat.S_IWUSR and str(file.uid) == user)
        or (file.mode & stat.S_IWGRP and str(file.gid) in {group, "0"})
    ]

    assert not writable, f"the service could change {len(writable)} of its files and folders: {writable[:5]} …"


@pytest.mark.row(9)
def test_no_file_gives_the_rights_of_its_owner(built: docker.Image) -> None:
    """A setuid or setgid file is a way from the user of the service to root (CIS Docker Benchmark 4.8).

    Fix: `find / -xdev -type f -perm /6000 -exec chmod a-s {} +`.
    """
    special = [path for path, file in built.files.items() if file.isfile() and file.mode & 0o6000]
    capable = [path for path, file in built.files.items() if "SCHILY.xattr.security.capability" in file.pax_headers]

    assert not special, f"setuid or setgid: {special}"
    assert not capable, f"file capabilities, which nothing may have: {capable}"


@pytest.mark.row(9)
def test_only_temporary_folders_are_writable_by_all(built: docker.Image) -> None:
    """Where anybody may write, an intruder keeps tools. Fix: `chmod o-w`."""
    places = [
        path
        for path, file in built.files.items()
        if (file.isdir() or file.isfile()) and file.mode & stat.S_IWOTH
        if not path.startswith(("/tmp", "/var/tmp", "/run/lock", "/dev/"))
    ]

    assert not places, f"writable by all: {places}"


@pytest.mark.row(10)
def test_size_and_layers_stay_within_budget(
    built: docker.Image,
    told: Configuration,
    pytestconfig: pytest.Config,
    record_property: Callable[[str, object], None],
) -> None:
    """Every node pulls the image before a rollout or a scale-out can start, and every megabyte is surface to scan.

    The budget: 150 MB on disk, 60 MB compressed, 12 layers; for a distroless image 57 MB and 21 MB. Fix: a slim base,
    no build tools, no pip cache, no copy of what a later layer hides; or say in pyproject.toml what the service needs.
    """
    on_disk_budget, compressed_budget = told.budget.whole(
        "slim" if pytestconfig.getoption("--image") else docker.runtime()
    )
    layers = list(built.raw_layers())
    on_disk = sum(file.size for layer in map(docker.opened, layers) for file in layer if file.isfile())
    with ThreadPoolExecutor() as pool:
        compressed = sum(pool.map(lambda layer: len(gzip.compress(layer, 6)), layers))
    sizes = f"{on_disk / MEGABYTE:.1f} MB on disk, {compressed / MEGABYTE:.1f} MB compressed, {len(layers)} layers"
    record_property("measured", sizes)

    assert on_disk <= on_disk_budget * MEGABYTE, f"{sizes}; the budget is {on_disk_budget} MB on disk"
    assert compressed <= compressed_budget * MEGABYTE, f"{sizes}; the budget is {compressed_budget} MB compressed"
    assert len(layers) <= told.budget.layers, f"{sizes}; the budget is {told.budget.layers} layers"


@pytest.mark.row(10)
def test_little_is_added_to_the_base(built: docker.Image, told: Configuration, project_only: None) -> None:
    """What is added is what this project answers for: at most 21 MB on disk, or `added`. Fix: see `docker history`."""
    base = docker.Image(built.labels["org.opencontainers.image.base.name"])
    added = (built.size - base.size) / MEGABYTE

    assert added <= told.budget.added, f"{added:.1f} MB above {base.reference}; the budget is {told.budget.added}"
