"""The image as a build product: its size, what a rebuild costs, and builds in private networks."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PYTHONS, TEMPLATE, Bake, docker
from tools.questions import CHOICES, base_image

pytestmark = pytest.mark.container

MEGABYTE = 10**6
BASE = base_image(PYTHONS[0])


def _bytes_on_disk(image: str) -> int:
    return int(json.loads(docker("image", "inspect", image))[0]["Size"])


def _step(log: str, instruction: str) -> str:
    """Return what BuildKit says of the step whose instruction contains the text."""
    number = re.search(rf"^(#\d+) \[.*{re.escape(instruction)}", log, re.MULTILINE)
    assert number, f"no step with {instruction!r} in:\n{log}"
    return "\n".join(line for line in log.splitlines() if line.startswith(f"{number[1]} "))


@pytest.mark.parametrize("python_version", PYTHONS)
def test_the_image_is_at_most_20_megabytes_larger_than_its_base(
    bake: Bake, image_tag: str, python_version: str
) -> None:
    bake(python_version=python_version).build_image(image_tag)

    added = _bytes_on_disk(image_tag) - _bytes_on_disk(base_image(python_version))
    assert added <= 21 * MEGABYTE, f"{added / MEGABYTE:.1f} MB above the base image"


# What slim can import and distroless cannot: what needs a terminal, a database library or a debugger's rights, what
# makes a pip, and the Python side of what is there in C. distroless.sh says so; an empty folder counts as importable.
LEFT_OUT = {
    *("_curses", "_curses_panel", "_dbm", "_gdbm", "_remote_debugging", "_tkinter", "readline"),
    *("_pydatetime", "_pydecimal", "_pyio", "ensurepip", "venv"),
    *("curses", "pydoc_data", "tkinter", "turtle", "turtledemo"),
}
IMPORT_ALL = """
import importlib, json, sys, warnings
warnings.simplefilter("ignore")
found = []
for name in sorted(sys.stdlib_module_names - {"antigravity", "idlelib", "this"}):
    try:
        importlib.import_module(name)
        found.append(name)
    except ImportError:
        pass
print(json.dumps(found))
"""


@pytest.mark.parametrize("python_version", PYTHONS)
def test_distroless_has_the_standard_library(bake: Bake, image_tag: str, python_version: str) -> None:
    """A module that another one imports must not be missing: pydoc, hence joblib and scikit-learn, imports _pyrepl."""
    project = bake(python_version=python_version)
    imported = {}
    for kind in CHOICES["image"]:
        project.build_image(image_tag, f"--build-arg=RUNTIME={kind}")
        imported[kind] = set(json.loads(docker("run", "--rm", "--entrypoint", "python3", image_tag, "-c", IMPORT_ALL)))

    assert imported["slim"] - imported["distroless"] <= LEFT_OUT
    assert len(imported["distroless"]) > 240, "where is the standard library?"


def test_a_code_only_rebuild_runs_no_pip(bake: Bake, image_tag: str) -> None:
    project = bake(python_version=PYTHONS[0])
    project.build_image(image_tag)
    views = project.path / "app/views.py"
    greeting = f"Hello {time.time_ns()}"  # new in every run, or the engine would remember the layer
    views.write_text(views.read_text().replace("Hello, World!", greeting))

    log = project.build_image(image_tag)

    assert "CACHED" in _step(log, "pip --python"), "pip ran again"
    assert "CACHED" in _step(log, "COPY --link --from=builder /venv"), "the virtual environment was copied again"
    assert "CACHED" not in _step(log, "COPY app"), "this was meant to be a change of code"
    assert greeting in docker("run", "--rm", image_tag, "cat", "app/views.py")


# Leaves a single authority, which is not the one that signs for the index: neither in the system's list nor in the
# list of public authorities that pip brings.
DISTRUSTING = f"""
FROM {BASE}
RUN awk '{{ print }} /END CERTIFICATE/ {{ exit }}' /etc/ssl/certs/ca-certificates.crt >/tmp/one \
 && rm -rf /etc/ssl/certs/* \
 && cp /tmp/one /etc/ssl/certs/ca-certificates.crt \
 && cp /tmp/one "$(python -c 'import pip._vendor.certifi as certifi; print(certifi.where())')"
"""


@pytest.fixture
def distrusting_base(engine: None) -> Iterator[str]:
    """Return the base image as it is in a private network before anybody has told it whom to trust."""
    tag = "template-test-base:distrusting"
    docker("build", "--tag", tag, "-", text=DISTRUSTING)
    yield tag
    docker("image", "rm", "--force", tag)


def test_a_private_certificate_authority_comes_as_a_secret(bake: Bake, image_tag: str, distrusting_base: str) -> None:
    project = bake(python_version=PYTHONS[0])
    other_base = f"--build-context={BASE}=docker-image://{distrusting_base}"
    bundle = Path("/etc/ssl/certs/ca-certificates.crt")
    if not bundle.exists():
        pytest.skip(f"this machine keeps its certificates elsewhere than {bundle}")

    with pytest.raises(AssertionError, match="CERTIFICATE_VERIFY_FAILED"):
        project.build_image(image_tag, "--no-cache", other_base)
    project.build_image(image_tag, "--no-cache", other_base, f"--secret=id=ca,src={bundle}")

    shipped = docker("run", "--rm", image_tag, "cat", "/etc/ssl/certs/ca-certificates.crt")
    assert shipped.count("END CERTIFICATE") == 1, "the bundle of the build is in the image"


def test_a_private_index_comes_as_a_secret(bake: Bake, image_tag: str, tmp_path: Path) -> None:
    pip_conf = tmp_path / "pip.conf"
    pip_conf.write_text("[global]\nindex-url = https://user:password@index.invalid/simple\nretries = 0\n")

    with pytest.raises(AssertionError, match=r"index\.invalid"):
        bake(python_version=PYTHONS[0]).build_image(image_tag, "--no-cache", f"--secret=id=pip,src={pip_conf}")


def test_the_lock_is_checked_by_hash(bake: Bake, image_tag: str) -> None:
    project = bake(python_version=PYTHONS[0])
    lock = project.path / "requirements.txt"
    lock.write_text(re.sub(r"sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", lock.read_text()))

    with pytest.raises(AssertionError, match="THESE PACKAGES DO NOT MATCH THE HASHES"):
        project.build_image(image_tag)


def test_a_package_without_a_wheel_is_named_with_its_recipe(bake: Bake, image_tag: str) -> None:
    project = bake(python_version=PYTHONS[0])
    with (project.path / "requirements.txt").open("a") as lock:
        lock.write("docopt==0.6.2 --hash=sha256:49b3a825280bd66b3aa83585ef59c4a8c82f2c8a522dbe754a8bc8d08c85c491\n")

    # What the step prints, not its instruction, which the engine shows as well.
    with pytest.raises(AssertionError, match=r"(?m)^ *#\d+ [\d.]+ Has it no wheel .* docs/recipes/wheels\.md"):
        project.build_image(image_tag)
    assert (TEMPLATE / "docs/recipes/wheels.md").exists()


def test_the_dockerfile_needs_no_frontend_from_a_registry() -> None:
    dockerfile = (TEMPLATE / "{{cookiecutter.project_slug}}/Dockerfile").read_text(encoding="utf-8")

    assert not re.match(r"#\s*syntax\s*=", dockerfile)
    assert len(dockerfile.splitlines()) <= 140, "the Dockerfile is to fit on two printed pages"
