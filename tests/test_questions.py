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

from hooks.pre_gen_project import RULES, quoted, unknown_answers, way_out
from tests.conftest import TEMPLATE, Bake, docker

QUESTIONS = json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8"))
ASKED = {name: default for name, default in QUESTIONS.items() if not name.startswith("_")}


def _cookiecutter(output: Path, *answers: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run cookiecutter in the folder `output`, as a user would: its project is made there."""
    command = [sys.executable, "-m", "cookiecutter", str(TEMPLATE), *answers]
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


def test_hook_labels_and_questions_agree() -> None:
    assert list(ASKED) == list(RULES) == list(QUESTIONS["__prompts__"])
    for name, rule in RULES.items():
        if rule.choices:
            assert ASKED[name] == rule.choices[0], "the first choice is the default"
            assert re.findall(r"[\w.]+", QUESTIONS["__prompts__"][name].rpartition("(")[2].replace(" or ", ", ")) == [
                *rule.choices
            ]
        elif name != "project_slug":
            assert rule.holds(ASKED[name])


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
        ("python_version", "2.7", "3.14"),
        ("python_version", "3.13.5", "3.13"),
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


@pytest.mark.container
def test_the_engine_pulls_no_image_that_is_called_scratch(engine: None) -> None:
    """The reason for one of TAKEN_NAMES. Of the others uv says "self-dependencies are not permitted"."""
    with pytest.raises(AssertionError, match="'scratch' is a reserved name"):
        docker("pull", "scratch")


BAD = {
    "project_slug": "Con",
    "description": "\t",
    "owner": "My Org!",
    "python_version": "3.13.5",
    "port": "99999",
}


def test_all_bad_answers_come_back_at_once_with_a_command_that_works(tmp_path: Path) -> None:
    name = 'It\'s "my" $HOME `id` \\ shop & more; \u00e9'
    refused = _bake(tmp_path, f"project_name={name}", *(f"{key}={value}" for key, value in BAD.items()))
    lines = refused.stderr.splitlines()

    assert [line.split()[:2] for line in lines[: len(BAD)]] == [["ERROR:", key] for key in RULES if key in BAD]
    assert lines[len(BAD)] == "This would work:"
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
    assert (answers["owner"], answers["python_version"], answers["port"]) == ("my-org", "3.13", "5000")


def test_the_command_names_checkout_and_output_folder_where_they_were_given() -> None:
    context = {"_template": "gh:org/template", "_checkout": "v1", "_output_dir": "/some where"}

    line = list(way_out(context, {"port": "5000"}, windows=False))[1].strip()
    assert shlex.split(line) == [
        *("cookiecutter", "gh:org/template", "--checkout", "v1", "--output-dir", "/some where", "--no-input"),
        "port=5000",
    ]


def test_on_windows_only_what_all_its_shells_read_alike_is_quoted() -> None:
    assert quoted("port=5000", windows=True) == "port=5000"
    assert quoted("C:\\some where", windows=True) == '"C:\\some where"'
    assert quoted("project_name=It's a shop & more", windows=True) == '"project_name=It\'s a shop & more"'

    lines = list(way_out({}, {"project_name": 'My "shop"', "description": "100%", "port": "5000"}, windows=True))
    assert lines[1:] == [
        "  cookiecutter . --no-input port=5000",
        "To be added by hand, as the shells of Windows differ in how they quote it: project_name, description",
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


def test_a_mistyped_question_is_refused_where_the_command_line_can_be_seen(tmp_path: Path) -> None:
    done = _bake(tmp_path, "projct_name=My shop", "pört=1", "colour=red")
    lines = done.stderr.splitlines()

    if not Path("/proc/self/cmdline").exists():
        assert done.returncode == 0, "cookiecutter drops such answers before the template sees any"
        return
    assert done.returncode != 0
    assert lines[0] == "ERROR: there is no question 'projct_name'; did you mean project_name?"
    assert lines[1].startswith("ERROR: there is no question 'pört'; did you mean port?")
    assert lines[2] == f"ERROR: there is no question 'colour'; the questions are {', '.join(RULES)}."
    assert lines[3].startswith("ERROR: port '1' is not valid: ")
    assert "--no-input 'project_name=My shop' project_slug=my-shop " in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_answer_is_not_taken_for_one() -> None:
    known = {"port", "_private"}

    def unknown(line: str) -> list[tuple[str, str]]:
        return list(unknown_answers(shlex.split(line), known))

    assert unknown("python -m cookiecutter . --no-input prt=1 port=2 _private=3") == [("prt", "1")]
    assert unknown("/bin/python /bin/cookiecutter -o a=b . --output-dir c=d --checkout e=f port='x y=z'") == []
    assert unknown("C:/Scripts/cookiecutter.exe . prt=") == [("prt", "")]
    assert unknown("python -m pytest a=b") == []
    assert unknown("cruft create https://host/cookiecutter-x?a=b --extra-context {}") == []


def test_from_python_cookiecutter_drops_a_mistyped_question_before_the_template_sees_it(bake: Bake) -> None:
    """The reason why a hook has to look at the command line: nothing of the answer is in its context."""
    assert b"vermilion" not in b"".join(bake(colour="vermilion").files().values())


def _answers_of(project: Path) -> dict[str, str]:
    recorded: dict[str, str] = json.loads((project / ".cookiecutter.json").read_text(encoding="utf-8"))
    return {name: recorded[name] for name in ASKED}


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
    assert _answers_of(tmp_path / "shop") == {**first, "port": "8081", "description": "Seven times seven."} | {
        "port": 8081
    }


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
    harmless = {"collections.abc", "difflib", "itertools", "json", "os", "re", "shlex", "sys", "typing", "unicodedata"}
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
