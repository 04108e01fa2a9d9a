"""Whatever is typed, pasted or replayed as an answer: it is refused, or shown as it is, and never run."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cookiecutter.exceptions import CookiecutterException
from cookiecutter.main import cookiecutter
from hypothesis import HealthCheck, Phase, example, given, seed, settings
from hypothesis import strategies as st
from jinja2 import TemplateError

from hooks.pre_gen_project import TEMPLATE_SYNTAX
from tests.conftest import LABEL, TEMPLATE, docker
from tests.test_bake import FILES_WITH_ANSWERS, files_of
from tools.questions import DEFAULTS, RULES

# With these, whatever the defaults are, the files are those that _check knows.
CHOSEN = {"ci": "github", "deploy": "compose"}
WORKFLOW = ".github/workflows/ci.yaml"
EXAMPLES = 600 if os.environ.get("CI") else 60
MARKER = Path(tempfile.gettempdir()) / f"executed-{os.getpid()}"
FRAGMENTS = [
    f"$(touch {MARKER})",
    f"`touch {MARKER}`",
    f"'; touch {MARKER}; '",
    f'"; touch {MARKER}; "',
    f'"); open({str(MARKER)!r}, "w"); ("',
    f"'''); open({str(MARKER)!r}, 'w'); ('''",
    f"{{{{ cycler.__init__.__globals__.os.system('touch {MARKER}') }}}}",
    f"!!python/object/apply:os.system ['touch {MARKER}']",
    *("{{ 7 * 7 }}", "{{", "}}", "{% raw %}", "{% endif %}", "{#", "#}", "${{ github.token }}", "${HOME}", "$$", "%d"),
    *('"', "'", '"""', "'''", "\\", "\\\\", '\\"', "\\n", "\n", "\r\n", "\t", "\0", "\x1b[31m", "\x7f", "\u2028"),
    *(
        " #",
        "# ",
        ": ",
        "- ",
        "[x]",
        "{x: y}",
        "&a",
        "*a",
        "|",
        ">",
        "%",
        "@",
        "~",
        "null",
        "on",
        "= ",
        "''",
        "? ",
        "---",
    ),
    *(
        "\u202e",
        "\u200f",
        "\u2066",
        "\u200b",
        "\ufeff",
        "\ud800",
        "\u00e9",
        "e\u0301",
        "\u4e16\u754c",
        "\U0001f40d\ufe0f",
    ),
    *("<script>", "](x)", "<!--", "FROM x\n", "LABEL a=b", "ONBUILD", "../..", "C:\\", "a" * 10_000, " ", ""),
]
HARD = [text for text in map(str.strip, FRAGMENTS) if RULES["description"].nearest(text) == text]

# Half of the examples consist of what the rules let through, so that many of them are really baked.
permitted = st.lists(st.sampled_from(HARD) | st.text("xyz", min_size=1), min_size=1, max_size=6).map(" ".join)
anything = st.one_of(
    permitted,
    st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=4).map("".join),
    st.text(st.characters(), max_size=60),
    st.text(st.characters(categories=["L", "M", "N", "P", "S"]), min_size=1, max_size=60),
)
good = st.fixed_dictionaries({"project_name": permitted, "description": permitted, "project_slug": st.just("shop")})
bad = st.fixed_dictionaries(
    {"project_name": anything, "description": anything, "project_slug": st.just("shop") | anything},
    optional=dict.fromkeys(("owner", "python_version", "port"), anything),
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def harmless(folder: Path) -> Path:
    """Return a bake with the default answers."""
    return Path(cookiecutter(str(TEMPLATE), no_input=True, extra_context=CHOSEN, output_dir=str(folder / "harmless")))


def _bake(folder: Path, answers: dict[str, str], replayed: bool) -> Path | None:
    """Bake as from the command line, or as from a prompt or replay; return the project, or None if it is refused.

    A refusal is our hook's, or cookiecutter's own before there is a hook or a folder. What a replay holds is not
    rendered, so nothing keeps cookiecutter from the folder that a slug with ".." names; the README says who must.
    """
    answers = CHOSEN | answers
    replayed = replayed and ".." not in answers["project_slug"]
    if not replayed:
        # What is in double braces is evaluated by cookiecutter itself on this way, before any template has a say.
        answers = {name: value.replace("cycler.", "cyclops.") for name, value in answers.items()}
    options = {"output_dir": str(folder / "out")}
    try:
        if not replayed:
            return Path(cookiecutter(str(TEMPLATE), no_input=True, extra_context=answers, **options))
        context = json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8"))
        context |= DEFAULTS | {"project_slug": "hello-service", **answers}
        for name in ("__description_quoted", "__description_label", "__project_name_label"):
            text = context["description" if "desc" in name else "project_name"]
            context[name] = re.sub(r'([\\"$])' if name.endswith("label") else r'([\\"])', r"\\\1", text)
        (folder / "replay.json").write_text(json.dumps({"cookiecutter": context}))
        return Path(cookiecutter(str(TEMPLATE), replay=str(folder / "replay.json"), **options))
    except (CookiecutterException, TemplateError, ValueError, OSError):
        return None


def _label(dockerfile: str, name: str) -> str:
    return re.search(rf'{re.escape(name)}=("(?:[^"\\]|\\.)*")', dockerfile)[1]  # type: ignore[index]


def _check(project: Path, answers: dict[str, str], harmless: Path) -> None:
    """Assert that every file parses, that the text is where it is shown, and that it is nowhere else."""
    files = {path.relative_to(project).as_posix(): path.read_bytes() for path in project.rglob("*") if path.is_file()}
    assert set(files) == files_of(**CHOSEN)
    name, text = answers["project_name"], answers["description"]
    for file, content in files.items():
        shown = content.decode("utf-8")
        if file not in FILES_WITH_ANSWERS | {WORKFLOW}:
            assert content == (harmless / file).read_bytes(), file
        elif file.endswith(".py"):
            ast.parse(shown)
        assert not re.search(r"[ \t\r]$", shown, re.MULTILINE), file

    recorded = json.loads(files[".cookiecutter.json"])
    assert {key: recorded[key] for key in answers} == answers
    assert tomllib.loads(files["pyproject.toml"].decode())["project"]["description"] == text
    for file in ("compose.yaml", WORKFLOW):
        parsed, expected = (yaml.safe_load((path / file).read_text("utf-8")) for path in (project, harmless))
        assert parsed.keys() == expected.keys()
    assert parsed["jobs"] == expected["jobs"]
    readme = files["README.md"].decode().split("\n")
    assert (readme[0], readme[2]) == (f"# {name}", text)
    before, after = ((path / "Dockerfile").read_text("utf-8").split("\n") for path in (harmless, project))
    assert len(before) == len(after)
    for title, value in (("image.title", name), ("image.description", text)):
        assert re.sub(r"\\(.)", r"\1", _label("\n".join(after), title)[1:-1]) == value


seen = {"baked": 0, "refused": 0}


@seed(1)  # the same examples every time, whatever this function looks like
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(answers=good | bad, replayed=st.booleans())
@example(answers={"project_name": "a/b", "description": "x", "project_slug": "\0"}, replayed=False)
@example(answers={"project_name": FRAGMENTS[6], "description": FRAGMENTS[6], "project_slug": "shop"}, replayed=True)
def test_nothing_hostile_comes_through(folder: Path, harmless: Path, answers: dict[str, str], replayed: bool) -> None:
    shutil.rmtree(folder / "out", ignore_errors=True)
    project = _bake(folder, answers, replayed)

    assert not MARKER.exists(), f"executed: {answers}"
    seen["refused" if project is None else "baked"] += 1
    if project is None:
        assert any(RULES[name].nearest(value) != value for name, value in answers.items()), "refused without a reason"
        assert not [path for path in (folder / "out").rglob("*") if path.is_file()]
        return
    assert not TEMPLATE_SYNTAX.search(answers["project_name"] + answers["description"])
    _check(project, answers, harmless)


def test_enough_was_tried_and_much_of_it_came_through() -> None:
    assert sum(seen.values()) >= EXAMPLES, seen
    assert min(seen.values()) >= EXAMPLES / 5, seen


@pytest.mark.container
def test_the_engine_reads_the_labels_as_they_were_given(folder: Path, engine: None, image_tag: str) -> None:
    dockerfile = ["FROM scratch"]
    for number, text in enumerate(HARD):
        shutil.rmtree(folder / "out", ignore_errors=True)
        project = _bake(folder, {"project_name": text, "description": text, "project_slug": "shop"}, replayed=False)
        assert project, text
        baked = (project / "Dockerfile").read_text(encoding="utf-8")
        dockerfile += [f"LABEL t{number}={_label(baked, 'title')} d{number}={_label(baked, 'image.description')}"]
    docker("build", "--label", LABEL, "--tag", image_tag, "-", text="\n".join(dockerfile))

    labels = json.loads(docker("image", "inspect", image_tag))[0]["Config"]["Labels"]
    assert len(HARD) > 30
    assert {key: labels[key] for key in labels if key[1:].isdecimal()} == {
        f"{letter}{number}": text for number, text in enumerate(HARD) for letter in "td"
    }


def test_what_cookiecutter_itself_evaluates_is_refused_all_the_same(tmp_path: Path) -> None:
    """It renders answers from the command line before any hook runs. 49 would pass; what was typed is judged."""
    command = [sys.executable, "-m", "cookiecutter", str(TEMPLATE), "--no-input", "description={{ 7 * 7 }}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert done.stderr.startswith("ERROR: description '{{ 7 * 7 }}' is not valid: ")
