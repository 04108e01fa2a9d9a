"""The contract, rows 1 to 7: what can be read from an image without running its service."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

from tests.container import docker

EXECUTABLE_FOLDERS = {"/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/venv/bin"}
BUILD_TOOLS = re.compile(r"(pip|easy_install)[0-9.]*|(gcc|g\+\+|cc|c\+\+|clang|make)(-[0-9]+)?|curl|wget")


@pytest.mark.row(1)
def test_user_is_numeric_and_not_root(image: docker.Image) -> None:
    """A service that is broken into as root owns its container, and with a kernel bug its host.

    Kubernetes' runAsNonRoot cannot judge a name, so the user must be a number. Mend: `USER 10001:10001`.
    """
    user = image.config.get("User") or "root (none is set)"

    assert re.fullmatch(r"[0-9]+(:[0-9]+)?", user), f"USER is {user}: it must be a number"
    assert int(user.split(":")[0]) != 0, "USER is 0, which is root"


@pytest.mark.row(2)
def test_command_is_in_exec_form(image: docker.Image) -> None:
    """In shell form a shell is process 1, and it does not pass SIGTERM on: every stop takes 10 s and ends in SIGKILL.

    Mend: `CMD ["python", "-m", "app"]`.
    """
    assert image.command, "neither ENTRYPOINT nor CMD is set"
    shell = image.command[0].rsplit("/", 1)[-1] in {"sh", "bash", "dash", "ash"} and "-c" in image.command[1:3]
    assert not shell, f"the command is in shell form: {image.command}"


@pytest.mark.row(2)
def test_stop_signal_is_sigterm(image: docker.Image) -> None:
    """On SIGTERM gunicorn finishes the requests in flight, on SIGINT or SIGQUIT it drops them.

    Mend: `STOPSIGNAL SIGTERM`.
    """
    signal = image.config.get("StopSignal") or "SIGTERM"

    assert signal in {"SIGTERM", "15"}, f"STOPSIGNAL is {signal}"


@pytest.mark.row(3)
def test_health_check_exists_and_works(image: docker.Image) -> None:
    """Without a health check nobody notices a service that hangs; one that calls a missing curl is always unhealthy.

    Mend: a HEALTHCHECK in exec form that uses the interpreter the image has anyway.
    """
    check = (image.config.get("Healthcheck") or {}).get("Test") or ["NONE"]
    assert check[0] == "CMD", f"HEALTHCHECK must be there, in exec form; it is {check}"

    with docker.started(image, "--health-interval", "1s") as container:
        container.wait_until_health_is("healthy", 30)
        assert container.state["Health"]["Log"][-1]["ExitCode"] == 0


@pytest.mark.row(3)
def test_health_check_fails_where_nothing_listens(image: docker.Image) -> None:
    """A check that always succeeds is worse than none. Mend: let its exit code tell what /healthz answered."""
    check = (image.config.get("Healthcheck") or {}).get("Test") or ["NONE"]
    options = ("--rm", "--label", docker.LABEL, "--entrypoint", check[1])
    done = docker.run("run", *options, image.reference, *check[2:], check=False)

    assert done.returncode == 1, f"exit code {done.returncode} without a service: {done.stdout}{done.stderr}"


@pytest.mark.row(4)
@pytest.mark.parametrize("name", ["title", "description", "version", "revision", "created", "base.name"])
def test_label_is_there(image: docker.Image, name: str) -> None:
    """Labels answer "what is this, from which commit, on which base?" when the image is found running somewhere.

    Mend: a LABEL with the names of the OCI image specification.
    """
    assert image.labels.get(f"org.opencontainers.image.{name}"), f"label {name} is missing; there are {image.labels}"


@pytest.mark.row(4)
@pytest.mark.usefixtures("own")
def test_labels_carry_what_the_build_was_told(image: docker.Image) -> None:
    """A label that is frozen tells a lie. Mend: declare ARG VERSION, REVISION and CREATED before the LABEL."""
    told = {name: image.labels[f"org.opencontainers.image.{name.lower()}"] for name in docker.VERSION_ARGUMENTS}

    assert told == docker.VERSION_ARGUMENTS


@pytest.mark.row(5)
def test_exactly_one_port_is_exposed_and_serves(image: docker.Image, service: docker.Container) -> None:
    """Tools and people read EXPOSE to learn where the service is; a port too many looks like a second service.

    Mend: one EXPOSE line with the port of PORT.
    """
    assert len(image.ports) == 1, f"exposed: {image.ports}"
    assert service.request("/").status == 200


@pytest.mark.row(6)
def test_no_build_tools(image: docker.Image) -> None:
    """What builds software or fetches it also serves an intruder, and every scanner lists its vulnerabilities.

    Mend: build in a stage of its own and copy only the virtual environment; remove the pip of the base.
    """
    paths = [path for path in map(PurePosixPath, image.files) if str(path.parent) in EXECUTABLE_FOLDERS]
    found = [str(path) for path in paths if BUILD_TOOLS.fullmatch(path.name) and image.is_executable(str(path))]

    assert not found, f"build tools in the image: {found}"


@pytest.mark.row(6)
def test_no_installer_can_be_imported(image: docker.Image) -> None:
    """`python -m pip` needs no executable, and ensurepip makes a pip out of nothing. Mend: remove them all."""
    installer = re.compile(r"/python3[^/]*/(site-packages/)?(pip|setuptools|ensurepip)/__init__\.pyc?$")
    found = [path for path in image.files if installer.search(path)]

    assert not found, f"installers in the image: {found}"


CANARY = "c0ffee-canary-7d1b"
PLANTED = [
    *(".env", ".git/config", ".netrc", "id_rsa", "server.key", "notes.txt", "Makefile"),
    *(".venv/bin/activate", ".pytest_cache/v/cache", "tests/unit/test_canary.py", "node_modules/a.js"),
    *("app/.env", "app/.env.local", "app/server.pem", "app/keys/server.key", "app/__pycache__/canary.pyc"),
]


@pytest.fixture(scope="module")
def canary_image(own: None, tmp_path_factory: pytest.TempPathFactory) -> docker.Image:
    """Build the project with a canary wherever people keep what must not be shipped, and in a secret."""
    context = tmp_path_factory.mktemp("context") / "project"
    shutil.copytree(docker.PROJECT, context, ignore=shutil.ignore_patterns(".venv", ".git", "*_cache", "__pycache__"))
    for name in PLANTED:
        path = context / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {CANARY} {name}\n")
    pip_conf = context / "pip.conf"
    pip_conf.write_text(f"# {CANARY} in the secret\n")
    # A comment in the lock makes the engine install anew, with the secret mounted, instead of taking a cached layer.
    with (context / "requirements.txt").open("a") as lock:
        lock.write(f"# {CANARY}\n")
    tag = f"container-contract-canary:{os.getpid()}"
    return docker.Image.build(tag, f"--secret=id=pip,src={pip_conf}", context=context)


@pytest.mark.row(7)
def test_nothing_but_the_service_is_shipped(canary_image: docker.Image) -> None:
    """A password in a layer is public for as long as the image exists, even if a later layer hides the file.

    Mend: a .dockerignore that ignores everything and names what enters; secrets by --mount=type=secret.
    """
    caught = [f"{name} ({CANARY} inside)" for name, content in _contents(canary_image) if CANARY.encode() in content]

    assert not caught, f"shipped by mistake: {caught}"
    assert CANARY not in canary_image.history


def _contents(image: docker.Image) -> Iterator[tuple[str, bytes]]:
    for layer in image.layers():
        for member in layer:
            if member.isfile():
                content = layer.extractfile(member)
                assert content is not None
                yield member.name, content.read()
