"""Imports that Python puts off (PEP 810): those of libraries, and no other; docs/decisions/lazy-imports.md says why."""

import subprocess

import pytest

from tests.conftest import LABEL, PYTHONS, Bake, BakedProject, docker, free_port, wait_for_page

IS_LOADED = "import app, sys; app.create_app(); print('werkzeug.serving' in sys.modules)"
HOOKS = '''"""Hooks of gunicorn."""

from typing import Any


def post_fork(server: Any, worker: Any) -> None:
    server.log.info("hooked")
'''

pytestmark = [
    pytest.mark.container,
    pytest.mark.slow,
    pytest.mark.skipif(
        "3.15" not in PYTHONS, reason=f"no image of Python 3.15: PYTHONS names {' '.join(PYTHONS)} only"
    ),
]


@pytest.fixture
def project(bake: Bake) -> BakedProject:
    return bake(python_version="3.15")


def add(project: BakedProject, file: str, code: str) -> None:
    """Add lines to the end of a file."""
    path = project.path / file
    path.write_text(f"{path.read_text()}\n{code}\n")


def test_what_a_library_imports_is_loaded_when_it_is_used(project: BakedProject, image_tag: str) -> None:
    project.build_image(image_tag)
    run = ("run", "--rm", "--label", LABEL, "--entrypoint=python")

    assert docker(*run, image_tag, "-c", IS_LOADED) == "False"
    assert docker(*run, "--env=PYTHON_LAZY_IMPORTS=normal", image_tag, "-c", IS_LOADED) == "True"


@pytest.mark.parametrize("file", ["app/views.py", "gunicorn.conf.py"])
def test_a_broken_import_of_the_service_stops_its_start(project: BakedProject, image_tag: str, file: str) -> None:
    add(project, file, "import nowhere_to_be_found")
    project.build_image(image_tag)
    identity = docker("run", "--detach", "--label", LABEL, image_tag)
    try:
        # It takes a second. If it serves instead, it does so for ever.
        ended = subprocess.run(["docker", "wait", identity], capture_output=True, text=True, timeout=60, check=True)
        assert ended.stdout.strip() != "0"
        logs = subprocess.run(["docker", "logs", identity], capture_output=True, text=True, timeout=60, check=True)
        assert "ModuleNotFoundError: No module named 'nowhere_to_be_found'" in logs.stdout + logs.stderr
    finally:
        docker("rm", "--force", identity)


def test_gunicorn_calls_a_hook_that_its_configuration_imports(project: BakedProject, image_tag: str) -> None:
    (project.path / "app/hooks.py").write_text(HOOKS)
    add(project, "gunicorn.conf.py", "from app.hooks import post_fork")
    project.build_image(image_tag)
    port = free_port()
    identity = docker("run", "--detach", "--label", LABEL, f"--publish=127.0.0.1:{port}:5000", image_tag)
    try:
        wait_for_page(port)
        assert '"message": "hooked"' in docker("logs", identity)
    finally:
        docker("rm", "--force", identity)
