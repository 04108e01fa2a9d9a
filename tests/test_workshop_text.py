"""The text of the workshop teaches: chapters say what for, instructions are explained where they first stand."""

import html
import re
from collections import Counter

import pytest

from tests.conftest import TEMPLATE, Bake, skip_or_fail
from tests.readme import commands
from workshop import page
from workshop.chapters import LASTS, PLANS, Chapter, chapters
from workshop.handout import environment, fill
from workshop.instructions import explained, explanations, used
from workshop.ladder import rungs

WORKSHOP = TEMPLATE / "workshop"
# To look things up in, or to be asked; nobody teaches them.
REFERENCE = {"glossary", "quiz", "solutions"}

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


def test_the_instructor_knows_each_exercise_and_the_rung_before_it() -> None:
    instructor = (WORKSHOP / "instructor.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| (\d+) \| [a-z].*? \| (\w+) \| \d+ \|$", instructor, re.MULTILINE)

    numbers = {path.name.partition("-")[0] for path in WORKSHOP.glob("exercises/*/") if (path / "task.md").exists()}
    assert {int(number) for number in numbers} <= {int(number) for number, _ in listed}
    assert {rung for _, rung in listed} <= {rung.name for rung in rungs()}


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
    # As in AGENTS.md, but for the answer.
    baking = ".venv/bin/cookiecutter . --no-input --output-dir workshop/build deploy=kubernetes"
    assert unknown == [baking, f"cd workshop/build/{project.path.name}"]


def test_the_chapter_on_kubernetes_explains_settings_that_are_there(bake: Bake) -> None:
    chapter = (WORKSHOP / "chapters/kubernetes.md").read_text(encoding="utf-8")
    deployment = (bake(deploy="kubernetes").path / "kubernetes/base/deployment.yaml").read_text(encoding="utf-8")
    settings = [
        name for term in re.findall(r"^(`.*`)\n: ", chapter, re.MULTILINE) for name in re.findall(r"`(\w+)`", term)
    ]

    assert len(settings) > 12
    absent = [name for name in settings if not re.search(rf"^ +(?:- )?{name}:", deployment, re.MULTILINE)]
    assert absent == ["replicas"], "and that, the chapter says, is not there"


# ---- what has to be found in the handout ----

# A point, the anchor of the chapter, section or instruction where it stands, and words that must be there.
POINTS = [
    # Concepts.
    ("image", "the-terms", "A stack of read-only file systems and a little metadata"),
    ("Dockerfile", "the-terms", "how an image is made"),
    ("multi-stage build", "the-terms", "only the last one is shipped"),
    ("virtual environment", "the-terms", "one folder that can be copied from stage to stage"),
    ("pip", "the-terms", "the program that installs packages of Python"),
    ("requirements.txt", "the-terms", "the list that it reads"),
    # The instructions of both stages, one by one.
    ("slim base", "a-slim-base", "what is needed to compile"),
    ("its alias", "instruction-as", "Gives a stage a name"),
    (
        "working directory",
        "instruction-workdir",
        "the folder in which the instructions below and later the command run",
    ),
    (
        "the list of requirements first",
        "what-changes-least-comes-first",
        "copy requirements.txt, install, then copy the code",
    ),
    ("making the environment", "two-stages-and-a-virtual-environment", "python -m venv --without-pip /venv"),
    ("activating it", "instruction-env", "Activating an environment does no more"),
    ("installing without a cache", "what-changes-least-comes-first", "--no-cache-dir leaves that out"),
    (
        "the second base",
        "two-stages-and-a-virtual-environment",
        "the second begins from the same base and takes one folder",
    ),
    ("copying only the environment", "instruction-copy-from", "the environment with all that was installed"),
    ("what that leaves behind", "instruction-copy-from", "Left behind are pip, its cache, compilers"),
    ("copying the code", "instruction-copy", "Copies from the build context into the image"),
    ("what EXPOSE does", "instruction-expose", "Notes in the image on which port its service listens"),
    ("what EXPOSE does not", "instruction-expose", "It opens nothing and publishes nothing"),
    (
        "how Flask finds the application",
        "a-server-made-for-the-purpose",
        "FLASK_APP=app.py makes Flask find the application",
    ),
    ("how Flask publishes it", "a-server-made-for-the-purpose", "FLASK_RUN_HOST=0.0.0.0 has it listen"),
    ("the environment's own program", "a-server-made-for-the-purpose", "must be the environment\u2019s own"),
    ("the build command", "what-everybody-writes-first", "docker build -t hello ."),
    ("the run command", "what-everybody-writes-first", "docker run --rm -p 5000:5000 hello"),
    ("where the page is then", "what-everybody-writes-first", "http://localhost:5000/"),
    # Mistakes.
    ("no stages", "no-second-stage", "share one stage"),
    ("dependencies cached in the image", "a-cache-in-a-layer", "keeps what it downloads"),
    ("a wrong working directory", "the-wrong-working-directory", "No WORKDIR"),
    ("no environment", "no-virtual-environment-or-one-that-was-moved", "python -m venv --without-pip /venv"),
    ("root", "root", "Without USER an image runs as root"),
    ("other security habits", "a-secret-as-a-build-argument", "part of the history of an image"),
    ("nobody scans", "nobody-scans", "Scan each image before it gets a name"),
    ("no .dockerignore", "no-dockerignore", "An allow-list"),
    *((f"no .dockerignore: {name}", "no-dockerignore", name) for name in (".git", "__pycache__", "*.pyc", "venv/")),
    # Interviews.
    *(("what Docker brings", "what-it-is-good-for", word) for word in ("Portability", "Reproducibility", "Isolation")),
    ("what each instruction is for", "instructions", "what would go wrong without it"),
    ("why stages: size", "stages-and-layers", "The image gets smaller"),
    ("why stages: attack surface", "stages-and-layers", "the attack surface is smaller"),
    ("why an environment in a container", "virtual-environments", "Why a venv in a container"),
    ("a small image: slim, nothing unneeded, stages", "size", "Slim base; no pip cache in a layer; stages"),
    ("security: not root", "security", "Do not run as root"),
    ("security: .dockerignore", "security", "by a .dockerignore that is an allow-list"),
    ("security: scanning", "security", "Scan, and rebuild when the scanner finds something"),
    ("a sentence on stages", "four-sentences-to-say", "\u201cI build in one stage and ship another"),
    ("a sentence on environments", "four-sentences-to-say", "\u201cI use a virtual environment"),
    ("a sentence on .dockerignore", "four-sentences-to-say", "\u201cMy .dockerignore forbids everything"),
    ("a sentence on scanning", "four-sentences-to-say", "\u201cEach image is scanned before it is released"),
    # Uses.
    ("microservices", "where-it-is-used", "Each is deployed and scaled alone"),
    ("pipelines", "where-it-is-used", "A pipeline builds the image, tests it, scans it, and deploys that image"),
    *(("clouds", "where-it-is-used", name) for name in ("AWS", "Azure", "Google")),
    ("one environment for a team", "where-it-is-used", "The whole team works in the same environment"),
]


@pytest.fixture(scope="module")
def shown() -> str:
    """Return the page of the handout."""
    results = WORKSHOP / "results/ladder.json"
    if not results.exists():
        skip_or_fail("the handout needs workshop/results/ladder.json, which `make workshop` measures")
    return page.web_page(fill(environment(results)))


def plain(markup: str) -> str:
    """Return what a reader sees of a part of a page."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", markup)).split())


@pytest.mark.parametrize(("point", "anchor", "words"), POINTS, ids=[point for point, _, _ in POINTS])
def test_the_handout_makes_the_point(shown: str, point: str, anchor: str, words: str) -> None:
    [(level, below)] = re.findall(rf'<(h[23]|span) id="{anchor}">(.*)', shown, re.DOTALL)
    end = {"h2": "<h2 id=", "h3": "<h[23] id=", "span": "<dt>|</dl>"}[level]
    assert words in plain(re.split(end, below)[0]), f"{point}: not below #{anchor}"


def test_every_explanation_stands_at_its_rung_in_the_page(shown: str) -> None:
    for rung in rungs():
        [told] = re.findall(rf'<h3 id="{page.slug(rung.title)}">(.*?)(?=<h[23])', shown, re.DOTALL)
        here = re.findall(r'<dt><span id="(instruction-[^"]+)">', told)
        assert here == [it.anchor for it in explained(rungs())[rung.name]], rung.label


# ---- words ----


def test_stand_ins_and_rows_are_explained_where_they_first_stand(shown: str) -> None:
    text = plain(re.sub(r"<(style|nav)\b.*?</\1>", "", shown, flags=re.DOTALL))
    for word, explanation in (
        ("rows?", "A row is one question of the container contract"),
        ("stand-in", "A stand-in has the name"),
    ):
        first = re.search(rf"\b{word}\b", text, re.IGNORECASE)
        assert first
        # In the line under the chart, which is followed by what its words mean.
        assert explanation in text[max(0, first.start() - 100) : first.start() + 600], word


def test_the_glossary_is_sorted_and_has_the_words() -> None:
    terms = re.findall(r"^(\S.*)\n: ", (WORKSHOP / "chapters/glossary.md").read_text(encoding="utf-8"), re.MULTILINE)
    plainly = [term.strip("`").lower() for term in terms]

    assert plainly == sorted(plainly)
    assert len(set(plainly)) == len(plainly)
    needed = "container,dockerfile,image,layer,liveness,pip,readiness,registry,requirements.txt,row,rung,scanner,stage"
    assert {*needed.split(","), "build cache", "multi-stage build", "stand-in", "virtual environment"} <= set(plainly)


def test_chapters_that_are_taught_show_what_for_and_what_to_remember(shown: str) -> None:
    for chapter in chapters():
        anchor = page.slug(chapter.title.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}"))
        [section] = re.findall(rf'<section class="{anchor}">(.*?)</section>', shown, re.DOTALL)
        boxes = [plain(box) for box in re.findall(r'<div class="overview.*?</div>', section, re.DOTALL)]
        if not chapter.minutes:
            assert boxes == [], chapter.name
            continue
        first, last = boxes
        for plan, minutes in chapter.minutes.items():
            assert f"{minutes} minutes of the {PLANS[plan]}" in first
        assert len(re.findall(r"<li>", section)) >= len(chapter.objectives) + len(chapter.questions) + len(chapter.keys)
        assert last.startswith("To remember")
