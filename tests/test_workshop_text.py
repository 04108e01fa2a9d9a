"""The text of the workshop teaches: chapters say what for, instructions are explained where they first stand."""

import re
from collections import Counter

import pytest

from tests.conftest import TEMPLATE, Bake
from tests.readme import commands
from workshop.chapters import LASTS, PLANS, Chapter, chapters
from workshop.instructions import explained, explanations, used
from workshop.ladder import rungs

WORKSHOP = TEMPLATE / "workshop"
# To look things up in; nobody teaches them.
REFERENCE = {"glossary", "solutions"}

# ---- instructions ----


def test_every_instruction_of_the_ladder_is_explained_at_the_rung_that_first_uses_it() -> None:
    known, places = explanations(), explained(rungs())
    seen = set[str]()
    for rung in rungs():
        files = rung.files()
        here = {*used(files["Dockerfile"].decode())} | ({".dockerignore"} & files.keys())
        assert here <= known.keys(), f"workshop/instructions.toml does not explain {here - known.keys()}"
        assert {it.name for it in places[rung.name] if not it.beside} == here - seen, rung.label
        seen |= here

    told = [it.name for entries in places.values() for it in entries]
    assert Counter(told) == Counter(known.keys()), "an explanation stands nowhere, or twice"
    assert seen >= {"FROM", "AS", "WORKDIR", "COPY", "COPY --from", "RUN", "ENV", "EXPOSE", "USER", "ARG", "LABEL"}
    assert seen >= {"CMD in shell form", "CMD in exec form", "HEALTHCHECK", "STOPSIGNAL", ".dockerignore"}
    assert seen >= {"RUN --mount=type=cache", "RUN --mount=type=bind"}
    assert known.keys() >= {"ENTRYPOINT in shell form", "ENTRYPOINT in exec form"}


def test_an_explanation_says_what_it_does_what_not_and_what_goes_wrong_without_it() -> None:
    for it in explanations().values():
        for text in (it.does, it.does_not, it.without):
            assert re.fullmatch(r"[A-Z`].*[.]", text), f"{it.name}: not a sentence: {text}"
        sentences = len(re.findall(r"[.](?= |$)", f"{it.does} {it.does_not} {it.without}"))
        assert 3 <= sentences <= 7, f"{it.name}: {sentences} sentences"


@pytest.mark.parametrize(
    ("dockerfile", "found"),
    [
        ("FROM scratch AS files", ["FROM", "FROM scratch", "AS"]),
        ("# COPY . .\nRUN a \\\n# a remark\n --mount b", ["RUN"]),
        (
            "RUN --mount=type=bind,source=a,target=/a --network=none a",
            ["RUN", "RUN --mount=type=bind", "RUN --network=none"],
        ),
        ("COPY --link --from=a /b /c", ["COPY", "COPY --link", "COPY --from"]),
        ("HEALTHCHECK --interval=3s \\\n  CMD a", ["HEALTHCHECK"]),
        ('CMD ["a"]', ["CMD in exec form"]),
        ("ENTRYPOINT a", ["ENTRYPOINT in shell form"]),
    ],
)
def test_the_search_for_instructions_finds(dockerfile: str, found: list[str]) -> None:
    assert list(used(dockerfile)) == found


# ---- chapters ----


@pytest.mark.parametrize("chapter", chapters(), ids=lambda chapter: chapter.name)
def test_a_chapter_that_is_taught_says_what_for(chapter: Chapter) -> None:
    assert (WORKSHOP / chapter.file).is_file()
    told = (chapter.minutes, chapter.objectives, chapter.questions, chapter.keys)
    if chapter.name in REFERENCE:
        assert not any(told)
        return
    assert all(told), f"{chapter.name}: minutes, objectives, questions and keys, see workshop/chapters/chapters.toml"
    assert chapter.minutes.keys() <= PLANS.keys()
    assert all(re.fullmatch(r"[A-Z].*[.]", text) for text in (*chapter.objectives, *chapter.keys)), "whole sentences"
    assert all(re.fullmatch(r"[A-Z].*[?]", text) for text in chapter.questions), "questions end with a question mark"


def test_every_text_is_a_chapter() -> None:
    found = {path.relative_to(WORKSHOP).as_posix() for path in WORKSHOP.glob("chapters/*.md")}
    assert found == {chapter.file for chapter in chapters()}


# ---- the instructor's plans ----


PLANNED = re.compile(r"^### [^\n]* \((\d+) minutes\)\n(.*?)(?=^##)", re.MULTILINE | re.DOTALL)
# What a plan has that no chapter is.
BESIDES = {"Break", "Quiz"}


def test_the_minutes_of_each_plan_add_up_and_are_those_of_the_chapters() -> None:
    instructor = (WORKSHOP / "instructor.md").read_text(encoding="utf-8")
    plans = {
        int(total): re.findall(r"^\| (\d+) \| (.+?) \| .*\|$", table, re.MULTILINE)
        for total, table in PLANNED.findall(instructor)
    }
    assert list(plans) == list(LASTS.values()), "one table for each plan of workshop/chapters.py"

    for plan, total in LASTS.items():
        spent = Counter[str]()
        for minutes, what in plans[total]:
            spent[what.partition(": ")[0]] += int(minutes)
        assert spent.total() == total, f"the plan {plan} takes {spent.total()} minutes"
        assert {name: minutes for name, minutes in spent.items() if name not in BESIDES} == {
            chapter.title: chapter.minutes[plan] for chapter in chapters() if plan in chapter.minutes
        }, plan


# ---- Kubernetes ----


def test_the_chapter_on_kubernetes_names_every_manifest_and_only_commands_that_are_tested(bake: Bake) -> None:
    chapter = (WORKSHOP / "chapters/kubernetes.md").read_text(encoding="utf-8")
    project = bake(deploy="kubernetes")
    folder = project.path / "kubernetes"
    named = re.findall(r"^\| `(\S+?)` \|", chapter, re.MULTILINE)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {"README.md"}

    assert [name for name in named if not (folder / name).exists()] == []
    assert [file for file in sorted(files) if not file.startswith(tuple(named))] == [], "a file has no row"

    # tests/test_kubernetes.py and the commands of the READMEs: names and options are those of what is baked.
    readmes = (project.path / "README.md", folder / "README.md", TEMPLATE / "docs/kubernetes.md")
    known = "\n".join(path.read_text(encoding="utf-8") for path in readmes)
    typed = commands(chapter)
    assert len(typed) > 12
    unknown = [command for command in typed if command not in known]
    assert unknown == [*BAKES, "cd workshop/build/hello-service"]


# As in AGENTS.md, but for the answer.
BAKES = [".venv/bin/cookiecutter . --no-input --output-dir workshop/build deploy=kubernetes"]


def test_the_chapter_on_kubernetes_explains_settings_that_are_there(bake: Bake) -> None:
    chapter = (WORKSHOP / "chapters/kubernetes.md").read_text(encoding="utf-8")
    deployment = (bake(deploy="kubernetes").path / "kubernetes/base/deployment.yaml").read_text(encoding="utf-8")
    settings = [
        name for term in re.findall(r"^(`.*`)\n: ", chapter, re.MULTILINE) for name in re.findall(r"`(\w+)`", term)
    ]

    assert len(settings) > 12
    absent = [name for name in settings if not re.search(rf"^ +(?:- )?{name}:", deployment, re.MULTILINE)]
    assert absent == ["replicas"], "and that, the chapter says, is not there"
