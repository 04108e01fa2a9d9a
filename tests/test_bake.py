"""What a bake leaves on disk."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.conftest import TEMPLATE, Bake, BakedProject, skip_or_fail
from tools.questions import DEFAULTS, base_image

FILES_OF_ALL = {
    ".cookiecutter.json",
    ".devcontainer/devcontainer.json",
    ".dockerignore",
    ".editorconfig",
    ".env.example",
    ".gitattributes",
    ".gitignore",
    ".pre-commit-config.yaml",
    "AGENTS.md",
    "CHANGELOG.md",
    "Dockerfile",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "compose.proxy.yaml",
    "compose.yaml",
    "distroless.sh",
    "gunicorn.conf.py",
    "haproxy.cfg",
    "healthcheck.py",
    "pyproject.toml",
    "renovate.json5",
    "requirements-dev.in",
    "requirements-dev.txt",
    "requirements-lint.in",
    "requirements-lint.txt",
    "requirements.in",
    "requirements.txt",
    *(f"app/{name}.py" for name in ("__init__", "__main__", "access_log", "bodies", "capacity", "errors", "exporter")),
    *(f"app/{name}.py" for name in ("health", "logs", "metrics", "middleware", "request_ids", "security", "settings")),
    "app/views.py",
    *(f"tests/unit/{name}.py" for name in ("conftest", "required")),
    *(f"tests/unit/test_{name}.py" for name in ("access_log", "bodies", "caching", "capacity", "errors", "health")),
    *(f"tests/unit/test_{name}.py" for name in ("healthcheck", "logs", "metrics", "request_ids", "security")),
    *(f"tests/unit/test_{name}.py" for name in ("gunicorn", "releases", "repository", "settings", "views")),
    *(f"tests/container/{name}.py" for name in ("configuration", "conftest", "docker", "load", "scorecard")),
    *(f"tests/container/test_{name}.py" for name in ("build", "compose", "faults", "image", "metrics")),
    *(f"tests/container/test_{name}.py" for name in ("proxy", "service")),
    *(f"tests/container/injected/{name}.py" for name in ("bytecode", "extensions", "lookups", "sitecustomize")),
}
FILES_BY_ANSWER = {
    ("ci", "github"): {".github/workflows/ci.yaml"},
    ("ci", "gitlab"): {".gitlab-ci.yml"},
    ("deploy", "kubernetes"): {
        *(f"kubernetes/base/{name}.yaml" for name in ("deployment", "horizontalpodautoscaler", "kustomization")),
        *(f"kubernetes/base/{name}.yaml" for name in ("namespace", "networkpolicy", "poddisruptionbudget")),
        *(f"kubernetes/base/{name}.yaml" for name in ("service", "serviceaccount")),
        *(f"kubernetes/overlays/{name}/kustomization.yaml" for name in ("dev", "prod")),
        *(f"kubernetes/components/{name}/kustomization.yaml" for name in ("httproute", "ingress", "migrate", "name")),
        *(f"kubernetes/components/httproute/{name}.yaml" for name in ("httproute", "names")),
        *(f"kubernetes/components/{name}.yaml" for name in ("ingress/ingress", "migrate/job")),
        *(f"kubernetes/components/servicemonitor/{name}.yaml" for name in ("kustomization", "networkpolicy")),
        "kubernetes/components/servicemonitor/servicemonitor.yaml",
        "kubernetes/README.md",
        "kubernetes/release.py",
        *(f"tests/kubernetes/{name}.py" for name in ("conftest", "test_manifests")),
    },
}
# Lines that carry a name, a port or a version; everything else is the same bytes in template and project.
FILES_WITH_ANSWERS = {
    ".cookiecutter.json",
    ".devcontainer/devcontainer.json",
    ".env.example",
    "Dockerfile",
    "Makefile",
    "README.md",
    "app/settings.py",
    "compose.proxy.yaml",
    "compose.yaml",
    "pyproject.toml",
}


def files_of(**answers: str) -> set[str]:
    """Return the names of all files that a bake with these answers makes."""
    chosen = DEFAULTS | answers
    return FILES_OF_ALL.union(*(FILES_BY_ANSWER.get(answer, set()) for answer in chosen.items()))


def test_answers_appear_in_a_handful_of_lines_only(bake: Bake) -> None:
    source = TEMPLATE / "{{cookiecutter.project_slug}}"
    baked = bake().files()
    different = {name for name in FILES_OF_ALL if baked[name] != (source / name).read_bytes()}

    assert different == FILES_WITH_ANSWERS
    for name in different - {"README.md", ".cookiecutter.json"}:
        lines = (source / name).read_text(encoding="utf-8").splitlines()
        changed = [line for line in lines if "{{" in line]
        assert len(changed) <= 10, f"{name}: {changed}"


def _command_line_bake(output: Path, *launcher: str, **environment: str) -> dict[str, bytes]:
    options = ["--no-input", "--output-dir", str(output), "port=8080"]
    subprocess.run(
        [*launcher, sys.executable, "-m", "cookiecutter", str(TEMPLATE), *options],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
    )
    return BakedProject(output / "hello-service", output).files()


@pytest.mark.parametrize("slug", ["true", "null", "on"])
def test_a_slug_that_yaml_takes_for_a_value_stays_a_name(bake: Bake, slug: str) -> None:
    files = bake(project_slug=slug).files()

    assert yaml.safe_load(files["compose.yaml"])["name"] == slug
    assert tomllib.loads(files["pyproject.toml"].decode())["project"]["name"] == slug


def test_two_bakes_are_the_same_bytes(tmp_path: Path) -> None:
    first = _command_line_bake(tmp_path / "first", PYTHONHASHSEED="1", TZ="UTC", LC_ALL="C.UTF-8")
    second = _command_line_bake(tmp_path / "elsewhere/second", PYTHONHASHSEED="2", TZ="Asia/Tokyo", LC_ALL="C")

    assert first == second


def test_a_bake_needs_no_network(tmp_path: Path) -> None:
    """Linux can take the network away from one process: in a new network namespace not even loopback is up."""
    alone = ["unshare", "--map-root-user", "--net"]
    reach = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('127.0.0.1', 9))"
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        skip_or_fail("this system cannot take the network away from a process")
    cut_off = subprocess.run([*alone, sys.executable, "-c", reach], capture_output=True, text=True, check=False)
    assert "Network is unreachable" in cut_off.stderr

    assert _command_line_bake(tmp_path / "alone", *alone) == _command_line_bake(tmp_path / "connected")


def test_every_answer_reaches_every_place(bake: Bake) -> None:
    project = bake(project_name="Shop", owner="acme/web", python_version="3.13", port="8080")
    files = {name: content.decode() for name, content in project.files().items()}

    assert project.path.name == "shop"
    assert f"FROM {base_image('3.13')} AS upstream" in files["Dockerfile"]
    assert f'org.opencontainers.image.base.name="{base_image("3.13")}"' in files["Dockerfile"]
    assert "PORT=8080 TMPDIR=/dev/shm\nEXPOSE 8080" in files["Dockerfile"]
    assert 'vendor="acme/web"' in files["Dockerfile"]
    assert "port: int = whole_number(1, 65535, default=8080)" in files["app/settings.py"]
    assert 'published: "${HOST_PORT:-8080}", target: "${PORT:-8080}" }]' in files["compose.yaml"]
    assert "image: ${IMAGE:-acme/web/shop}" in files["compose.yaml"]
    assert 'name = "shop"' in files["pyproject.toml"]
    assert "docker run --rm -p 8080:8080 shop" in files["README.md"]
    assert "\nHOST_PORT ?= 8080\nNAME := shop\n" in files["Makefile"]
    assert "--publish $(HOST_PORT):8080 " in files["Makefile"]
    assert "\n#PORT=8080\n" in files[".env.example"]
    assert '"name": "shop"' in files[".devcontainer/devcontainer.json"]
    assert '"forwardPorts": [8080]' in files[".devcontainer/devcontainer.json"]
    assert not [
        name
        for name, text in files.items()
        if name.endswith(("file", ".md", ".yaml")) and "5000" in text.replace("AirPlay takes 5000", "")
    ]
