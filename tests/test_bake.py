"""What a bake leaves on disk."""

import re

from tests.conftest import TEMPLATE, Bake

FILES = {
    ".dockerignore",
    ".editorconfig",
    ".gitattributes",
    ".gitignore",
    ".hadolint.yaml",
    "Dockerfile",
    "README.md",
    "compose.yaml",
    "gunicorn.conf.py",
    "healthcheck.py",
    "pyproject.toml",
    "requirements-dev.in",
    "requirements-dev.txt",
    "requirements.in",
    "requirements.txt",
    *(f"app/{name}.py" for name in ("__init__", "__main__", "capacity", "errors", "health", "logs", "request_ids")),
    *(f"app/{name}.py" for name in ("security", "settings", "views", "worker")),
    *(f"tests/unit/{name}.py" for name in ("conftest", "test_capacity", "test_errors", "test_health", "test_logs")),
    *(
        f"tests/unit/test_{name}.py"
        for name in ("healthcheck", "request_ids", "security", "settings", "views", "worker")
    ),
    *(f"tests/container/{name}.py" for name in ("conftest", "docker", "load", "scorecard")),
    *(f"tests/container/test_{name}.py" for name in ("build", "compose", "faults", "image", "service")),
    *(f"tests/container/injected/{name}.py" for name in ("bytecode", "sitecustomize")),
}
# Lines that carry a name, a port or a version; everything else is the same bytes in template and project.
FILES_WITH_ANSWERS = {"Dockerfile", "README.md", "app/settings.py", "compose.yaml", "pyproject.toml"}


def test_the_exact_files(bake: Bake) -> None:
    assert set(bake().files()) == FILES


def test_nothing_of_the_template_language_is_left(bake: Bake) -> None:
    left = [name for name, content in bake().files().items() if re.search(rb"\{\{|\{%|%\}|\{#", content)]

    assert left == []


def test_answers_appear_in_a_handful_of_lines_only(bake: Bake) -> None:
    source = TEMPLATE / "{{cookiecutter.project_slug}}"
    baked = bake().files()
    different = {name for name, content in baked.items() if content != (source / name).read_bytes()}

    assert different == FILES_WITH_ANSWERS
    for name in different - {"README.md"}:
        lines = (source / name).read_text(encoding="utf-8").splitlines()
        changed = [line for line in lines if "{{" in line]
        assert len(changed) <= 7, f"{name}: {changed}"


def test_two_bakes_are_the_same_bytes(bake: Bake) -> None:
    assert bake("first", port="8080").files() == bake("second", port="8080").files()


def test_lines_end_as_unix_lines_do_and_hold_no_trailing_space(bake: Bake) -> None:
    for name, content in bake().files().items():
        assert b"\r" not in content, name
        assert not re.search(rb"[ \t]$", content, re.MULTILINE), name
        assert content.endswith(b"\n"), name
        assert not content.endswith(b"\n\n"), name


def test_every_answer_reaches_every_place(bake: Bake) -> None:
    project = bake(project_name="Shop", owner="acme/web", python_version="3.13", port="8080")
    files = {name: content.decode() for name, content in project.files().items()}

    assert project.path.name == "shop"
    assert "FROM python:3.13-slim-trixie AS base" in files["Dockerfile"]
    assert 'org.opencontainers.image.base.name="python:3.13-slim-trixie"' in files["Dockerfile"]
    assert "PORT=8080\nEXPOSE 8080" in files["Dockerfile"]
    assert 'vendor="acme/web"' in files["Dockerfile"]
    assert 'port: int = variable("8080"' in files["app/settings.py"]
    assert 'ports: ["${HOST_PORT:-8080}:8080"]' in files["compose.yaml"]
    assert "image: ${IMAGE:-acme/web/shop}" in files["compose.yaml"]
    assert 'name = "shop"' in files["pyproject.toml"]
    assert "docker run --rm -p 8080:8080 shop" in files["README.md"]
    assert not [
        name
        for name, text in files.items()
        if name.endswith(("file", ".md", ".yaml")) and "5000" in text.replace("AirPlay takes 5000", "")
    ]
