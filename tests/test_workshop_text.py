"""The text of the workshop teaches: chapters say what for, instructions are explained where they first stand."""

import re
from collections import Counter

import pytest

from tests.conftest import TEMPLATE
from workshop.chapters import PLANS, Chapter, chapters
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
