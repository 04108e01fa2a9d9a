"""The contract, rows 7, 11, 12 and 14: what a build of this project ships, and what building it again costs."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container import docker

pytestmark = pytest.mark.usefixtures("project_only")

CANARY = "c0ffee-canary-7d1b"
PLANTED = [
    *(".env", ".git/config", ".netrc", "id_rsa", "server.key", "notes.txt", "Makefile"),
    *(".venv/bin/activate", ".pytest_cache/v/cache", "tests/unit/test_canary.py", "node_modules/a.js"),
    *("app/.env", "app/.env.local", "app/server.pem", "app/keys/server.key", "app/__pycache__/canary.pyc"),
]


def _copy_of_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return docker.copy_of_project(tmp_path_factory.mktemp("context"))


@pytest.fixture(scope="module")
def canary_image(project_only: None, built: docker.Image, tmp_path_factory: pytest.TempPathFactory) -> docker.Image:
    """Build the project with a canary wherever people keep what must not be shipped, and in a secret."""
    context = _copy_of_project(tmp_path_factory)
    for name in PLANTED:
        path = context / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {CANARY} {name}\n")
    pip_conf = context / "pip.conf"
    pip_conf.write_text(f"# {CANARY} in the secret\n")
    # A comment in the lock makes the engine install again, with the secret mounted, instead of taking a cached layer.
    with (context / "requirements.txt").open("a") as lock:
        lock.write(f"# {CANARY}\n")
    return built.variant("canary", f"--secret=id=pip,src={pip_conf}", context=context)


@pytest.mark.row(7)
def test_nothing_but_the_service_is_shipped(canary_image: docker.Image) -> None:
    """A password in a layer is public for as long as the image exists, even if a later layer hides the file.

    Fix: a .dockerignore that ignores everything and names what enters; secrets by --mount=type=secret.
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


@pytest.mark.row(11)
def test_a_change_of_code_installs_nothing(tmp_path_factory: pytest.TempPathFactory, built: docker.Image) -> None:
    """The change that is made a hundred times a day must not wait for the package index.

    Fix: copy requirements.txt and install from it before the code is copied.
    """
    context = _copy_of_project(tmp_path_factory)
    code = context / "app/__init__.py"
    code.write_text(f"{code.read_text()}\n# {time.time_ns()}: new in every run, or the engine would know the layer\n")
    log = docker.Image.build_log(f"container-contract-changed:{os.getpid()}", *docker.VERSION_OPTIONS, context=context)

    step = re.search(r"^(#[0-9]+) \[.*pip.* install ", log, re.MULTILINE)
    assert step, f"no step installs anything:\n{log}"
    assert f"\n{step[1]} CACHED" in log, "the packages were installed again"


@pytest.mark.row(11)
def test_everything_is_locked_with_hashes() -> None:
    """A version can be published again with other content, by its author or by a thief of the password.

    Fix: `uv pip compile --generate-hashes`, and `pip install --require-hashes` in the Dockerfile.
    """
    lock = (docker.PROJECT / "requirements.txt").read_text().replace("\\\n", " ")
    requirements = [line for line in lock.splitlines() if line and not line.lstrip().startswith("#")]
    loose = [line for line in requirements if "==" not in line or "--hash=sha256:" not in line]

    assert not loose, f"without a version or a hash: {loose}"
    dockerfile = (docker.PROJECT / "Dockerfile").read_text().replace("\\\n", "")
    installs = re.findall(r"pip [^&|;\n]*\binstall [^&|;\n]*", dockerfile)
    assert installs, "no step installs anything"
    assert all("--require-hashes" in install for install in installs), f"without --require-hashes: {installs}"


@pytest.mark.row(11)
def test_two_builds_of_one_source_give_the_same_layers(built: docker.Image) -> None:
    """Equal layers are pushed, pulled and scanned once, and show that an image was made from the source it names.

    Fix: fixed dates for everything a RUN leaves behind, nothing random, nothing removed but in the stage that made it,
    nothing compiled by `compileall -j`.
    """
    one, other = built, _built_without_cache("again")
    if one.layer_digests != other.layer_digests:
        # A copied layer is found in the cache by names and contents: it may have the dates of an older Dockerfile.
        one = _built_without_cache("and-again")

    assert one.layer_digests == other.layer_digests, f"not the same: {_differences(one, other)}"


def _built_without_cache(name: str) -> docker.Image:
    return docker.Image.build(f"container-contract-{name}:{os.getpid()}", *docker.VERSION_OPTIONS, "--no-cache")


def _differences(one: docker.Image, other: docker.Image) -> list[str]:
    """Return what two images do not have in common, as `layer 4: /etc: date`."""
    found = []
    for number, (first, second) in enumerate(zip(_described(one), _described(other), strict=True)):
        for name in sorted(first.keys() | second.keys()):
            aspects = zip(("mode", "owner", "date", "content"), first.get(name, ()), second.get(name, ()), strict=False)
            differ = [aspect for aspect, *values in aspects if values[0] != values[1]]
            if differ or name not in first or name not in second:
                found.append(f"layer {number}: /{name}: {', '.join(differ) or 'not in both'}")
    return found or ["the order of files"]


def _described(image: docker.Image) -> Iterator[dict[str, tuple[object, ...]]]:
    for layer in image.layers():
        yield {
            member.name: (
                (member.type, member.mode),
                (member.uid, member.gid),
                member.mtime,
                file.read() if member.isfile() and (file := layer.extractfile(member)) else member.linkname,
            )
            for member in layer
        }


@pytest.mark.row(12)
def test_a_file_that_has_changed_is_sent_again(tmp_path_factory: pytest.TempPathFactory, image: docker.Image) -> None:
    """All files of an image have fixed dates; an ETag made of date and size keeps an old file in browsers for ever.

    Fix: give each file a date made from its content, and take no other notice of it (Dockerfile, app/middleware.py).
    """
    context = _copy_of_project(tmp_path_factory)
    style = context / "app/static/contract.css"
    style.parent.mkdir(exist_ok=True)
    etags = []
    new = time.time_ns()  # or the engine would know the layer, with the dates of another build
    for name in ("red", "tan"):
        style.write_text(f"/* {new} {name} */\n")
        with docker.started(image.variant(name, context=context), options=image.options) as container:
            container.wait_until_serving()
            response = container.request("/static/contract.css")
            etags.append(response.headers["ETag"])
            assert response.body == style.read_bytes()
            again = container.request("/static/contract.css", If_None_Match=etags[-1])
            assert again.status == 304, "a file that has not changed is sent again"
    assert etags[0] != etags[1], "a file that has changed has the same ETag"


@pytest.mark.row(14)
def test_a_checkout_for_one_user_only_builds_the_same_image(
    tmp_path_factory: pytest.TempPathFactory, image: docker.Image
) -> None:
    """With umask 077 a checkout belongs to one user, and modes go into the image: root builds it, nobody can run it.

    Fix: `chmod -R u=rwX,go=rX` in the stage that copies the code.
    """
    context = _copy_of_project(tmp_path_factory)
    for path in context.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    private = image.variant("private", *docker.VERSION_OPTIONS, context=context)
    with docker.started(private, options=image.options) as container:
        container.wait_until_serving()

    assert private.layer_digests[-1] == image.layer_digests[-1], "the modes of the checkout are in the image"
