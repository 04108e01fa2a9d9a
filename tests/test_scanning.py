"""What scanners see: all packages of both kinds of image, and no secret. They need no database for that."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from benchmarks import measures
from tests.conftest import LABEL, TEMPLATE, TOOLS, BakedProject, docker, skip_or_fail
from tests.readme import page_of_docs

pytestmark = pytest.mark.container

LOCKED = measures.pins(TEMPLATE / "{{cookiecutter.project_slug}}/requirements.txt")
OFFLINE = ["--quiet", "--offline-scan", "--skip-db-update", "--skip-java-db-update", "--skip-version-check"]


@pytest.fixture(scope="module")
def trivy() -> str:
    """Return the scanner's path; skip, or in CI fail, where its package has no program for this system."""
    found = shutil.which("trivy", path=str(TOOLS))
    return found or skip_or_fail("the scanner is packaged for Linux on x86-64 only")


@pytest.fixture(scope="module", params=["slim", "distroless"])
def image(request: pytest.FixtureRequest, engine: None, project: BakedProject) -> Iterator[str]:
    """Return the default project's image, of either kind."""
    tag = f"template-test-{request.param}:{os.getpid()}"
    project.build_image(tag, "--build-arg", f"RUNTIME={request.param}")
    yield tag
    docker("image", "rm", "--force", tag)


def _scan(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TRIVY_CACHE_DIR": str(folder / "cache")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def _packages(sbom: str) -> dict[str, str]:
    components = json.loads(sbom)["components"]
    return {canonicalize_name(part["name"]): part["version"] for part in components if part["type"] == "library"}


def test_the_command_of_the_page_lists_all_packages(trivy: str, image: str, tmp_path: Path) -> None:
    [line] = re.findall(r"^trivy image --format .*$", page_of_docs("scan"), re.MULTILINE)
    words = line.replace(" hello-service", f" {image}").split()
    done = _scan([trivy, *words[1:], *OFFLINE], tmp_path)
    assert done.returncode == 0, done.stderr
    packages = _packages((tmp_path / "sbom.json").read_text())

    assert {name: packages.get(name) for name in LOCKED} == LOCKED
    assert {"libc6", "ca-certificates", "tzdata", "base-files"} < packages.keys()
    assert any(name.startswith("libssl3") for name in packages)
    assert not {"pip", "setuptools", "wheel"} & packages.keys()
    if "distroless" in image:
        assert not {"bash", "dash", "apt", "dpkg", "perl-base", "coreutils"} & packages.keys()
        assert len(packages) < 40, sorted(packages)


def test_no_secret_is_found(trivy: str, image: str, tmp_path: Path) -> None:
    command = [trivy, "image", "--scanners", "secret", "--image-config-scanners", "secret", "--exit-code", "1"]
    clean = _scan([*command, *OFFLINE, image], tmp_path)
    assert clean.returncode == 0, clean.stdout + clean.stderr

    planted = f"{image}-planted"
    key = "AKIA" + "Q3EGRIXVBQ5XTL7D"
    docker("build", "--label", LABEL, "--tag", planted, "-", text=f"FROM {image}\nENV AWS_ACCESS_KEY_ID={key}\n")
    try:
        found = _scan([*command, *OFFLINE, planted], tmp_path)
    finally:
        docker("image", "rm", "--force", planted)
    assert found.returncode == 1, "the scanner finds no secret where there is one"
    assert "AWS Access Key ID" in found.stdout


def test_the_lock_can_be_read_without_an_image(trivy: str, project: BakedProject, tmp_path: Path) -> None:
    command = [trivy, "fs", "--format", "cyclonedx", *OFFLINE, str(project.path / "requirements.txt")]
    done = _scan([word for word in command if word != "--skip-java-db-update"], tmp_path)
    assert done.returncode == 0, done.stderr

    assert _packages(done.stdout) == LOCKED
