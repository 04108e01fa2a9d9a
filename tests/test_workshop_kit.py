"""The workshop's kit, which needs no network."""

import ast
import json
import os
import platform
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.conftest import LABEL, PYTHONS, TEMPLATE, docker, skip_or_fail, snapshot
from tools.demo import page
from tools.questions import CONTEXT, base_image
from workshop import kit
from workshop.ladder import PYTHON

WORKSHOP = TEMPLATE / "workshop"


def made_for(**changes: str) -> dict[str, list[str]]:
    """Return what an archive that fits here is made for, but for the changes."""
    version = ".".join(map(str, sys.version_info[:2]))
    fits = {"a machine with": f"{platform.system()} {platform.machine()}", "Python": version}
    return {what: [value] for what, value in {**fits, "an engine on": "linux/amd64", **changes}.items()}


@pytest.fixture
def archive(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes an archive of two small files."""

    def written(**changes: str) -> Path:
        folder = tmp_path / "content"
        (folder / "wheels").mkdir(parents=True, exist_ok=True)
        (folder / "wheels/a.whl").write_bytes(secrets.token_bytes(9999))
        told = {"name": "the-kit", "made_for": made_for(**changes), "images": {}}
        (folder / "manifest.json").write_text(json.dumps(told))
        kit.write(folder, tmp_path / "kit.zip")
        return tmp_path / "kit.zip"

    return written


@pytest.fixture
def fake_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a docker command first that only says where its engine runs."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin/docker"
    command.write_text("#!/bin/sh\necho linux/amd64\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")


@pytest.fixture
def said_by_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[Path], str]:
    """Return a function that uses an archive, and returns the one line that this ends with."""
    monkeypatch.chdir(tmp_path)

    def said(archive: Path) -> str:
        assert kit.main(["use", str(archive)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        return str(line)

    return said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"a machine with": "Linux s390x"}, r"a machine with Linux s390x, not \w+ ", id="machine"),
        pytest.param({"Python": "3.9"}, r"Python 3\.9, not 3\.\d+: use that, or pack one for this", id="Python"),
        pytest.param({"an engine on": "linux/s390x"}, "an engine on linux/s390x, not linux/amd64: ", id="engine"),
    ],
)
def test_an_archive_for_another_machine_is_refused(
    archive: Callable[..., Path],
    fake_engine: None,
    said_by_use: Callable[[Path], str],
    changes: dict[str, str],
    message: str,
) -> None:
    assert re.match(f"kit: this archive is for {message}", said_by_use(archive(**changes)))


def test_a_damaged_archive_is_refused(
    archive: Callable[..., Path], fake_engine: None, said_by_use: Callable[[Path], str]
) -> None:
    path = archive()
    whole = path.read_bytes()
    middle = len(whole) // 2  # of what is in the wheel

    for damaged in (
        whole[:middle],
        whole[:-1],
        whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        b"a page that says 404",
    ):
        shutil.rmtree(path.parent / "the-kit", ignore_errors=True)
        path.write_bytes(damaged)
        assert "is damaged, or no archive of this workshop: copy it again (" in said_by_use(path)
    with zipfile.ZipFile(path, "w") as another:
        another.writestr("holiday.jpg", b"")
    assert "no archive of this workshop" in said_by_use(path)
    path.unlink()
    assert "there is no archive " in said_by_use(path)


def test_what_is_packed_comes_out_with_its_mode_whatever_its_date(
    archive: Callable[..., Path], fake_engine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, mode in (("check", 0o755), ("README", 0o644)):
        file = tmp_path / "content/of" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
        file.chmod(mode)
        os.utime(file, (0, 0))

    folder, images = kit.unpack(archive())

    assert (folder, images) == (tmp_path / "the-kit", {})
    for name, mode in (("check", 0o755), ("README", 0o644)):
        assert (folder / "of" / name).read_text() == name
        assert (folder / "of" / name).stat().st_mode & 0o777 == mode


def test_a_folder_that_is_there_is_left_alone(
    archive: Callable[..., Path], fake_engine: None, said_by_use: Callable[[Path], str], tmp_path: Path
) -> None:
    (tmp_path / "the-kit").mkdir()

    assert "is there already: remove it, or go to another folder" in said_by_use(archive())
    assert not list((tmp_path / "the-kit").iterdir())


def test_an_archive_needs_docker(
    archive: Callable[..., Path], said_by_use: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert said_by_use(archive()) == "kit: there is no docker command: install Docker, then try again"


def test_a_kit_is_not_packed_without_its_pages(
    fake_engine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kit, "TEMPLATE", tmp_path)

    said = "kit: there is no feedback and no handout and no slides and no worksheet yet: make handout\n"
    assert (kit.main(["pack"]), capsys.readouterr().err) == (1, said)

    (tmp_path / "workshop/build").mkdir(parents=True)
    for name in ("feedback.html", "handout.html", "worksheet.html", "worksheet.pdf"):
        (tmp_path / "workshop/build" / name).touch()
    assert (kit.main(["pack"]), capsys.readouterr().err) == (1, "kit: there is no slides yet: make handout\n")
    assert re.search(r"^kit: handout$", (TEMPLATE / "Makefile").read_text(), re.MULTILINE)


def test_the_kit_packs_what_dockerfiles_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a house that has its own base image, too; the workshop keeps the official ones where they are there."""
    slim, full, own = f"python:{PYTHON}-slim-trixie", f"python:{PYTHON}-trixie", f"example.org/python:{PYTHON}"
    there: set[str] = set()
    monkeypatch.setattr(kit, "exists", there.__contains__)
    monkeypatch.setitem(CONTEXT, "__base_image", slim.replace(PYTHON, "{{ cookiecutter.python_version }}"))
    with pytest.raises(kit.KitError, match=f"the engine has no {slim}: docker pull {slim}"):
        kit.base_images()
    there |= {slim, full}
    assert kit.base_images() == {slim: slim, full: full}

    monkeypatch.setitem(CONTEXT, "__base_image", own.replace(PYTHON, "{{ cookiecutter.python_version }}"))
    with pytest.raises(kit.KitError, match=f"the engine has no {own}: docker pull {own}"):
        kit.base_images()
    there |= {own}
    assert kit.base_images() == {own: own, slim: slim, full: full}
    there -= {slim, full}
    assert kit.base_images() == {own: own, slim: own}


def test_an_old_python_is_told_what_is_needed() -> None:
    """Its grammar must let it read the program that far: Python 3.7 had the last change that matters."""
    source = (WORKSHOP / "kit.py").read_text()
    run = f"runpy.run_path({str(WORKSHOP / 'kit.py')!r}, run_name='__main__')"
    as_if = f"import runpy, sys; sys.version_info = (3, 9, 0, 'final', 0); {run}"

    ast.parse(source, feature_version=(3, 7))
    command = [sys.executable, "-I", "-S", "-c", as_if, "use", "a"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert re.fullmatch(r"kit: Python 3\.11 or newer is needed, this is .*\n", done.stderr)


def _all_is_there_and_runs(folder: Path, pages: Sequence[str], said: str, alone: Sequence[str]) -> None:
    """Assert that a kit has what it says where it says, and that quiz and check run without a network."""
    assert sorted(path.name for path in (folder / "pages").iterdir()) == sorted(pages)
    for title, file in re.findall(r"^(The .*|Notes): (/.*)$", said, re.MULTILINE):
        assert Path(file).is_file(), f"{title} is not at {file}"
    for title, file in (
        *((title, f"pages/{name}.html") for name, title in kit.PAGES.items()),
        ("Notes", "pages/notes.pdf"),
        ("The quiz", "template/workshop/quiz"),
    ):
        assert f"\n{title}: {folder / file}\n" in said
    assert (folder / "pages/slides.html").read_text() == "what slides.html says"
    for kind in ("exercises/*/task.md", "solutions/*/solution.md", "results/recordings/*.cast", "ladder/*/Dockerfile"):
        carried, there = (
            {p.relative_to(root / "workshop") for p in (root / "workshop").glob(kind)}
            for root in (folder / "template", TEMPLATE)
        )
        assert carried == there != set(), f"the kit does not carry workshop/{kind}"
    template = folder / "template"
    command = [*alone, str(template / "workshop/quiz")]
    asked = subprocess.run(command, input="b\nd\n", capture_output=True, text=True, timeout=60, check=False)
    assert (asked.returncode, asked.stderr) == (0, "")
    assert "\nScore: 2 of 2 so far.\n" in asked.stdout
    # Not its verdict: without a network it finds fault.
    command = [*alone, str(template / "workshop/check"), "--laptop"]
    ready = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert re.search(r"^ok +Docker: Docker Engine \d+", ready.stdout, re.MULTILINE), ready.stdout + ready.stderr


@pytest.mark.container
@pytest.mark.slow
def test_the_kit_works_without_a_network(
    image_tag: str, tmp_path: Path, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    alone = ["unshare", "--map-root-user", "--net"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        skip_or_fail("this system cannot take the network away from a process")
    # The fork of a house that has its own base image.
    fork, room, token = snapshot(tmp_path / "fork"), tmp_path / "room", secrets.token_hex(8)
    name = f"workshop-test-{os.getpid()}"
    base = f"example.org/{name}:3.14-base"
    cookiecutter = fork / "cookiecutter.json"
    cookiecutter.write_text(cookiecutter.read_text().replace(CONTEXT["__base_image"], base))
    subprocess.run(["git", "init", "--quiet", fork], check=True)
    (fork / "workshop/build").mkdir()
    pages = [*(f"{name}.html" for name in kit.PAGES), "notes.pdf"]
    for file in (*pages, "an-older-kit.zip"):
        (fork / "workshop/build" / file).write_text(f"what {file} says")
    text = f"FROM {base_image(PYTHONS[0])}\nLABEL kit={token}\nRUN touch /{token}\n"
    docker("build", f"--tag={base}", f"--label={LABEL}", "-", text=text)
    # The full image is as large as all else, and packed in the same way.
    full = f"python:{PYTHON}-trixie"
    without = f"exists = kit.exists; kit.exists = lambda image: image != {full!r} and exists(image)"
    pack = f"from workshop import kit; {without}; raise SystemExit(kit.main())"
    began = time.monotonic()
    command = [sys.executable, "-c", pack, "pack", "--output", str(room / f"{name}.zip")]
    packed = subprocess.run(command, cwd=fork, capture_output=True, text=True, check=False)
    assert packed.returncode == 0, packed.stdout + packed.stderr
    size = (room / f"{name}.zip").stat().st_size
    record_property("kit", f"{size / 1e6:.0f} MB, packed in {time.monotonic() - began:.0f} s")

    # From here on the base image is nowhere but in the archive.
    docker("image", "rm", base)
    assert not docker("images", "--quiet", name)
    began = time.monotonic()
    try:
        command = [*alone, sys.executable, "-I", "-S", str(room / "kit.py"), "use", f"{name}.zip"]
        used = subprocess.run(command, cwd=room, capture_output=True, text=True, check=False)
        assert used.returncode == 0, used.stdout + used.stderr
        record_property("use", f"{time.monotonic() - began:.0f} s")
        address = re.search(r"^The service answers at http://127\.0\.0\.1:(\d+)/$", used.stdout, re.MULTILINE)
        assert address
        assert page(int(address[1])) == "<p>Hello, World!</p>"
        _all_is_there_and_runs(room / name, pages, used.stdout, alone)
        service = f"{name}:{kit.SERVICE}"
        assert docker("image", "inspect", "--format", "{{.Config.Labels.kit}}", service) == token
        for environment in ("template", kit.SERVICE):
            pytest_there = room / name / environment / ".venv/bin/pytest"
            subprocess.run([pytest_there, "--version"], check=True, capture_output=True)

        # An exercise as well: its pip takes what the base image brings along.
        told = re.search(r"export DOCKER_BUILD_OPTIONS=(.*)", used.stdout)
        assert told
        (build_options,) = shlex.split(told[1])
        command = ["build", "--network=none", "--no-cache", f"--label={LABEL}", f"--tag={image_tag}"]
        docker(*command, *shlex.split(build_options), str(room / name / "template/workshop/exercises/01-my-machine"))
        version = docker("run", "--rm", "--entrypoint=flask", image_tag, "--version")
        assert version.startswith(f"Python {PYTHONS[0]}")
    finally:
        subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False)
        # By name: one of them is the official image under another name.
        for image in docker("images", "--format", "{{.Repository}}:{{.Tag}}", name).split():
            docker("image", "rm", "--force", image)
