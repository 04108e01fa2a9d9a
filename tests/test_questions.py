"""The questions: good answers arrive, bad ones are refused in words that help, wherever they come from."""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cookiecutter.main import cookiecutter

from hooks import pre_gen_project
from tests.conftest import TEMPLATE, TOOLS, Bake, docker
from tools.baking import files
from tools.questions import CHOICES, DEFAULTS, QUESTIONS, RULES


def _cookiecutter(
    output: Path, *answers: str, template: str = str(TEMPLATE), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run cookiecutter in the folder `output`, as a user would: its project is made there."""
    command = [sys.executable, "-m", "cookiecutter", template, *answers]
    return subprocess.run(
        command,
        cwd=output,
        env={**os.environ, "COLUMNS": "500", "PWD": str(output), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def _bake(output: Path, *answers: str) -> subprocess.CompletedProcess[str]:
    return _cookiecutter(output, "--no-input", *answers)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["", "==2.1.1"], ids=["the newest", "the oldest that was tried"])
def test_a_cookiecutter_that_is_not_installed_bakes_the_same(bake: Bake, tmp_path: Path, version: str) -> None:
    readme = (TEMPLATE / "README.md").read_text(encoding="utf-8")
    assert f"cookiecutter {version.removeprefix('==')}" in readme

    command = ["uvx", "--python", sys.executable, f"cookiecutter{version}", str(TEMPLATE), "--no-input"]
    environment = {**os.environ, "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert files(tmp_path / "hello-service") == bake().files()


def test_labels_rules_and_defaults_are_those_of_the_questions() -> None:
    labels = json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8"))["__prompts__"]

    assert list(labels) == list(QUESTIONS)
    for name, label in labels.items():
        if isinstance(label, dict):
            assert set(label) == {"__prompt__", *CHOICES[name]}, name
    assert pre_gen_project.RULES.keys() <= QUESTIONS.keys() - CHOICES.keys()
    for name, default in DEFAULTS.items():
        if name != "project_slug":
            assert RULES[name].nearest(default) == default


def test_the_slug_follows_the_name(bake: Bake) -> None:
    assert bake(project_name="Stock & Orders, 2nd try").path.name == "stock-orders-2nd-try"


@pytest.mark.parametrize(
    ("name", "value", "example"),
    [
        ("project_slug", "My_Service", "my-service"),
        ("project_slug", "9lives", "service-9lives"),
        ("project_slug", "a--b", "a-b"),
        ("project_slug", "a-", "a"),
        ("project_slug", "shop.", "shop"),
        ("project_slug", "nul", "service-nul"),
        ("project_slug", "COM1", "service-com1"),
        ("project_slug", "scratch", "service-scratch"),
        ("project_slug", "flask", "service-flask"),
        ("project_slug", "gunicorn", "service-gunicorn"),
        ("project_slug", "default", "service-default"),
        ("project_slug", "kube-system", "service-kube-system"),
        ("project_slug", "x" * 64, "x" * 63),
        ("project_slug", "dienst-\u00e9", "dienst-e"),
        ("project_slug", "\u4e16", "service"),
        ("project_name", "two\nlines", "two lines"),
        ("project_name", "right\u202eleft", "right left"),
        ("project_name", "x" * 201, "x" * 200),
        ("description", " ", "Hello Service"),
        ("description", " blank", "blank"),
        ("description", "{{ 7 * 7 }}", "{ { 7 * 7 }}"),
        ("description", "{% if 1 %}{# x #}{% endif %}", "{ % if 1 %}{ # x #}{ % endif %}"),
        ("owner", "My Org", "my-org"),
        ("owner", "acme//web", "acme-web"),
        ("owner", "x" * 200, "x" * 63),
        ("port", "80", "5000"),
        ("port", "65536", "5000"),
        ("port", "http", "5000"),
        ("port", "0x1F90", "5000"),
        ("port", "\u0665\u0660\u0660\u0660", "5000"),
    ],
)
def test_a_bad_answer_is_refused(tmp_path: Path, name: str, value: str, example: str) -> None:
    done = _bake(tmp_path, "project_slug=shop", f"{name}={value}")

    assert done.returncode != 0
    assert done.stderr.splitlines()[0] == (
        f"ERROR: {name} {value[:80]!r} is not valid: use {RULES[name].words}, for example {example!r}."
    )
    assert list(tmp_path.iterdir()) == [], "something half-made stayed behind"


@pytest.mark.parametrize(
    ("name", "last", "first_refused"),
    [
        ("project_name", "x" * 200, "x" * 201),
        ("description", "x" * 200, "x" * 201),
        ("project_slug", "x" * 63, "x" * 64),
        ("owner", "x" * 128, "x" * 129),
        ("owner", "a/" * 63 + "ab", "a/" * 64 + "a"),
        ("port", "1024", "1023"),
        ("port", "65535", "65536"),
    ],
)
def test_a_limit_is_exactly_where_its_rule_says(name: str, last: str, first_refused: str) -> None:
    nearest = RULES[name].nearest

    assert nearest(last) == last
    assert nearest(first_refused) != first_refused, f"{name} of {len(first_refused)} characters passes: {first_refused}"


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_good_answer_with_a_little_more_is_refused(name: str) -> None:
    """A pattern that ends in `$` lets a line feed pass, one that ignores case a capital letter."""
    answer = CHOICES[name][0] if name in CHOICES else {**DEFAULTS, "project_slug": "shop"}[name]
    for more in (f"{answer}\n", f"\n{answer}", f"{answer} ", f" {answer}", f"{answer}\0", f"{answer}\u2028", ""):
        assert RULES[name].nearest(more) != more, f"{name} {more!r} passes"
    if RULES[name].words != pre_gen_project.TEXT.words and answer != answer.upper():
        for other in (answer.upper(), answer.capitalize()):
            assert RULES[name].nearest(other) != other, f"{name} {other!r} passes"


@pytest.mark.container
def test_the_engine_pulls_no_image_that_is_called_scratch(engine: None) -> None:
    """The reason for one of TAKEN_NAMES. Of the others uv says "self-dependencies are not permitted"."""
    with pytest.raises(AssertionError, match="'scratch' is a reserved name"):
        docker("pull", "scratch")


BAD = {
    "project_slug": "Con",
    "description": "\t",
    "owner": "My Org!",
    "port": "99999",
}


def test_all_bad_answers_come_back_at_once_with_a_command_that_works(tmp_path: Path) -> None:
    name = 'It\'s "my" $HOME `id` \\ shop & more; \u00e9'
    refused = _bake(tmp_path, f"project_name={name}", *(f"{key}={value}" for key, value in BAD.items()))
    lines = refused.stderr.splitlines()

    assert [line.split()[:2] for line in lines[: len(BAD)]] == [["ERROR:", key] for key in QUESTIONS if key in BAD]
    assert lines[len(BAD)] == "This would work, in a POSIX shell:"
    command = lines[len(BAD) + 1].strip()
    assert command.startswith(f"cookiecutter {TEMPLATE} --no-input ")
    assert list(tmp_path.iterdir()) == []

    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    pasted = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, check=False
    )
    assert pasted.returncode == 0, pasted.stderr
    project = tmp_path / "service-con"
    assert (project / "README.md").read_text(encoding="utf-8").startswith(f"# {name}\n")
    answers = json.loads((project / ".cookiecutter.json").read_text(encoding="utf-8"))
    assert (answers["owner"], answers["port"]) == ("my-org", "5000")


@pytest.mark.parametrize("name", CHOICES)
def test_cookiecutter_refuses_what_is_not_in_a_menu(tmp_path: Path, name: str) -> None:
    done = _bake(tmp_path, f"{name}=2.7", "port=80")

    assert done.returncode != 0
    reason = f"2.7 provided for choice variable {name}, but the choices are {CHOICES[name]}."
    assert done.stderr.splitlines()[-1] == f"ValueError: {reason}"
    assert list(tmp_path.iterdir()) == []


def test_the_command_names_checkout_and_output_folder_where_they_were_given() -> None:
    context = {"_template": "gh:org/template", "_checkout": "v1", "_output_dir": "/some where"}

    line = list(pre_gen_project.way_out(context, {"port": "5000"}))[1].strip()
    assert shlex.split(line) == [
        *("cookiecutter", "gh:org/template", "--checkout", "v1", "--output-dir", "/some where", "--no-input"),
        "port=5000",
    ]


@pytest.mark.parametrize(("slug", "left"), [("a/b", "a"), ("a/b/c", "a"), ("/x", None), ("", None), (".", None)])
def test_a_slug_that_is_a_path_leaves_an_empty_folder_at_most_and_says_so(
    tmp_path: Path, slug: str, left: str | None
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "mine").write_text("kept")
    slug = slug.replace("/x", f"{tmp_path}/x")
    done = _bake(folder, f"project_slug={slug}")

    assert done.returncode != 0
    first = (done.stderr + done.stdout).splitlines()[0]
    assert first.startswith(f"ERROR: project_slug {slug!r} is not valid") or "directory already exists" in first
    assert (folder / "mine").read_text() == "kept"
    assert {path.name for path in tmp_path.iterdir()} == {"here"}
    assert {path.name for path in folder.iterdir()} == {"mine", *filter(None, [left])}
    if left:
        assert not [path for path in (folder / left).rglob("*") if path.is_file()]
        assert f"cookiecutter made the directory {(folder / slug).parent} before it asked" in done.stderr


@pytest.mark.parametrize(
    ("slug", "works"), [("..", "hello-service"), ("x/..", "x"), ("x/../..", "x"), ("../y/../..", "y")]
)
def test_a_slug_that_leads_up_is_refused_before_cookiecutter_makes_and_removes_what_it_names(
    tmp_path: Path, slug: str, works: str
) -> None:
    """It removes the folder that it made for answers that a hook refuses: "x/../.." is the parent of where it runs."""
    folder = tmp_path / "here" / "there"
    folder.mkdir(parents=True)
    (folder / "mine").write_text("kept")
    done = _bake(folder, f"project_slug={slug}")

    assert done.returncode != 0
    reason = f"ERROR: project_slug {slug} leads out of the folder it would be made in; for example, use {works}"
    assert reason in done.stderr.splitlines()[-1]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [folder / "mine"]
    assert list(folder.iterdir()) == [folder / "mine"]


def test_cookiecutter_drops_an_answer_to_no_question(tmp_path: Path) -> None:
    """The README warns of it. No hook can: nothing of such an answer is in its context."""
    assert _bake(tmp_path, "prt=8080").returncode == 0
    assert _answers_of(tmp_path / "hello-service")["port"] == DEFAULTS["port"]


def _answers_of(project: Path) -> dict[str, str]:
    recorded: dict[str, str] = json.loads((project / ".cookiecutter.json").read_text(encoding="utf-8"))
    return {name: recorded[name] for name in QUESTIONS}


def test_defaults_of_the_user_are_taken_and_checked(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    folders = f'cookiecutters_dir: "{tmp_path}"\nreplay_dir: "{tmp_path / "replay"}"\n'
    config.write_text(f"{folders}default_context: {{owner: acme, port: 8080, full_name: Not asked}}\n")

    done = _bake(tmp_path, "--config-file", str(config))
    assert done.returncode == 0, done.stderr
    assert _answers_of(tmp_path / "hello-service")["owner"] == "acme"
    assert _answers_of(tmp_path / "hello-service")["port"] == "8080"

    config.write_text(f"{folders}default_context: {{owner: Acme Inc}}\n")
    refused = _bake(tmp_path, "--config-file", str(config), "project_slug=shop")
    assert refused.stderr.startswith("ERROR: owner 'Acme Inc' is not valid: ")


@pytest.mark.parametrize(("written", "read"), [("3.13", "3.13"), ("3.10", "3.1")])
def test_a_version_without_quotes_in_a_configuration_is_warned_of(tmp_path: Path, written: str, read: str) -> None:
    """It is a number, so it is in no menu. cookiecutter goes on without it and all that follows; the README says so."""
    config = tmp_path / "config.yaml"
    config.write_text(
        f'cookiecutters_dir: "{tmp_path}"\nreplay_dir: "{tmp_path}"\n'
        f"default_context: {{owner: acme, python_version: {written}, port: 8080}}\n"
    )
    done = _bake(tmp_path, "--config-file", str(config))

    choices = CHOICES["python_version"]
    assert f"{read} provided for choice variable python_version, but the choices are {choices}." in done.stderr
    assert _answers_of(tmp_path / "hello-service") == {
        **DEFAULTS,
        "project_slug": "hello-service",
        "owner": "acme",
    }

    config.write_text(config.read_text().replace(written, f'"{choices[-1]}"'))
    done = _bake(tmp_path, "--config-file", str(config), "project_slug=shop")
    assert (done.returncode, done.stderr) == (0, "")
    answers = _answers_of(tmp_path / "shop")
    assert (answers["python_version"], answers["port"]) == (choices[-1], "8080")


def test_answers_are_replayed_and_checked(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f'cookiecutters_dir: "{tmp_path}"\nreplay_dir: "{tmp_path / "replay"}"\n')
    given = {"project_name": 'It\'s "Shop"', "project_slug": "shop", "port": "8080"}
    assert _bake(tmp_path, "--config-file", str(config), *(f"{n}={v}" for n, v in given.items())).returncode == 0
    first = _answers_of(tmp_path / "shop")
    shutil.rmtree(tmp_path / "shop")

    replayed = _cookiecutter(tmp_path, "--config-file", str(config), "--replay")
    assert replayed.returncode == 0, replayed.stderr
    assert _answers_of(tmp_path / "shop") == first
    shutil.rmtree(tmp_path / "shop")

    [file] = (tmp_path / "replay").iterdir()
    context = json.loads(file.read_text())
    context["cookiecutter"]["port"] = 8081
    context["cookiecutter"]["description"] = "{{ 7 * 7 }}"
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(context))
    refused = _cookiecutter(tmp_path, "--replay-file", str(edited))
    assert refused.stderr.startswith("ERROR: description '{{ 7 * 7 }}' is not valid: ")

    context["cookiecutter"]["description"] = "Seven times seven."
    edited.write_text(json.dumps(context))
    assert _cookiecutter(tmp_path, "--replay-file", str(edited)).returncode == 0
    assert _answers_of(tmp_path / "shop") == {**first, "port": 8081, "description": "Seven times seven."}


@pytest.mark.parametrize("name", CHOICES)
def test_choices_of_a_replay_are_checked(tmp_path: Path, name: str) -> None:
    """The hook checks what cookiecutter does not. Where it does not find the menus, it lets a name pass and no more."""
    replay = tmp_path / "replay.json"
    context = json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8"))

    def refusal(answer: str, template: str, here: str) -> str:
        answers = {**DEFAULTS, "project_slug": "shop", name: answer}
        replay.write_text(json.dumps({"cookiecutter": {**context, **answers}}))
        return _cookiecutter(tmp_path, "--replay-file", str(replay), template=template, PWD=here).stderr.splitlines()[0]

    beside = os.path.relpath(TEMPLATE, tmp_path)
    words = f"one of {', '.join(CHOICES[name])}, for example {DEFAULTS[name]!r}."
    assert refusal("2.7", str(TEMPLATE), "/") == f"ERROR: {name} '2.7' is not valid: use {words}"
    assert refusal("2.7", beside, str(tmp_path)) == f"ERROR: {name} '2.7' is not valid: use {words}"
    capital = f"{CHOICES[name][0].capitalize()} "
    assert refusal(capital, beside, str(tmp_path)) == f"ERROR: {name} {capital!r} is not valid: use {words}"
    lost = refusal("2.7: x", beside, str(tmp_path / "gone"))
    assert lost.startswith(f"ERROR: {name} '2.7: x' is not valid: use a-z and 0-9, joined by ")


def test_a_line_feed_at_the_end_of_an_answer_is_refused(tmp_path: Path) -> None:
    """Where it evaluates an answer, cookiecutter takes it away, but not from a replay."""
    context = json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8"))
    answers = {name: f"{answer}\n" for name, answer in {**DEFAULTS, "project_slug": "shop"}.items()}
    replay = tmp_path / "replay.json"
    replay.write_text(json.dumps({"cookiecutter": {**context, **answers}}))
    refused = _cookiecutter(tmp_path, "--replay-file", str(replay)).stderr.splitlines()

    assert [line.split(" is not valid")[0] for line in refused if line.startswith("ERROR")] == [
        f"ERROR: {name} {answer!r}" for name, answer in answers.items()
    ]


def test_numbers_from_python_are_as_good_as_text(tmp_path: Path) -> None:
    path = cookiecutter(str(TEMPLATE), no_input=True, extra_context={"port": 8080}, output_dir=str(tmp_path))

    assert _answers_of(Path(path))["port"] == "8080"


NEXT = [
    "",
    "shop is ready. Next:",
    "  cd shop",
    "  docker build -t shop .",
    "  docker run --rm -p 8080:8080 shop",
    "Then open http://localhost:8080/",
]


def test_the_next_steps_are_printed_and_work(tmp_path: Path) -> None:
    done = _bake(tmp_path, "project_name=Shop", "port=8080")

    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines == [*NEXT, "To keep it in Git:", "  git init", "  git add .", '  git commit -m "Add shop"']
    assert not (tmp_path / "shop/.git").exists(), "whether there is a repository is for the owner to say"
    identity = {f"GIT_{role}_{part}": "a@b" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    subprocess.run(
        ["sh", "-ec", "\n".join([lines[2], *lines[7:]])],
        cwd=tmp_path,
        env={**os.environ, **identity},
        check=True,
        capture_output=True,
    )


def test_the_next_steps_name_the_folder_in_full_where_it_is_elsewhere(tmp_path: Path) -> None:
    done = _bake(tmp_path, "project_name=Shop", "-o", "some where")

    assert f"  cd '{tmp_path}/some where/shop'" in done.stdout.splitlines()


def test_in_a_repository_nothing_is_disturbed(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    git("init")
    (tmp_path / "mine").write_text("kept")
    git("add", ".")
    git("commit", "-m", "x")
    state = {path: path.read_bytes() for path in (tmp_path / ".git").rglob("*") if path.is_file()}

    done = _bake(tmp_path, "project_name=Shop", "port=8080")

    assert done.stdout.splitlines() == [
        *NEXT,
        "To keep it in the Git repository around it:",
        "  git add .",
        '  git commit -m "Add shop"',
    ]
    assert {path: path.read_bytes() for path in (tmp_path / ".git").rglob("*") if path.is_file()} == state
    assert git("status", "--porcelain") == "?? shop/\n"


def test_a_second_bake_leaves_a_repository_as_it_is(tmp_path: Path) -> None:
    assert _bake(tmp_path, "project_slug=shop", "ci=none").returncode == 0
    subprocess.run(["git", "init"], cwd=tmp_path / "shop", check=True, capture_output=True)
    (tmp_path / "shop/data").mkdir()

    def folders() -> set[str]:
        return {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_dir()}

    before = folders()
    assert "shop/.git/refs/tags" in before, "a new repository has empty folders"

    assert _bake(tmp_path, "project_slug=shop", "ci=none", "--overwrite-if-exists").returncode == 0
    assert folders() == before


def test_hooks_use_the_standard_library_without_network_clock_chance_or_other_programs() -> None:
    harmless = {"collections.abc", "json", "os", "re", "shlex", "sys", "typing", "unicodedata"}
    for hook in sorted((TEMPLATE / "hooks").glob("*.py")):
        tree = ast.parse(hook.read_text(encoding="utf-8"))
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}

        assert imported <= harmless, hook.name
        assert not {name for name in called if re.search("system|popen|exec|spawn|fork|random|time", name)}, hook.name


@pytest.mark.parametrize(
    "text", ['it\'s "quoted"', "back\\slash", "$HOME ${PATH} `id`", "# : - [x] <b>", "\u00e9\u4e16\U0001f40d"]
)
def test_free_text_arrives_as_it_was_given(bake: Bake, text: str) -> None:
    project = bake(project_name=text, project_slug="shop", description=text)

    toml = tomllib.loads((project.path / "pyproject.toml").read_text(encoding="utf-8"))
    assert toml["project"]["description"] == text
    readme = (project.path / "README.md").read_text(encoding="utf-8").splitlines()
    assert (readme[0], readme[2]) == (f"# {text}", text)
