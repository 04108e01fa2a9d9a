"""The quiz: its questions are complete and fair, the terminal asks and counts, the handout prints them with answers."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.conftest import TEMPLATE, skip_or_fail
from workshop import page, quiz
from workshop.handout import environment, fill
from workshop.quiz import LETTERS, Question, questions

WORKSHOP = TEMPLATE / "workshop"
QUESTIONS = questions()
ONE_IS_RIGHT = [question for question in QUESTIONS if question.options and not question.several]
EACH = pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.id)

# What the blog post says interviewers ask, and which questions ask it here.
INTERVIEW = {
    "what Docker brings": {"what-docker-brings"},
    "what each instruction is for": {"what-adds-files", "expose", "entrypoint-and-cmd", "exec-form"},
    "why stages": {"why-stages"},
    "why an environment in a container": {"why-an-environment"},
    "ways to make an image small": {"small-image", "layers-add-up"},
    "security: not root": {"not-root"},
    "security: .dockerignore": {"dockerignore"},
    "security: scanning": {"scanning"},
}


# ---- the questions ----


def test_there_are_twenty_five_questions_and_no_two_are_the_same() -> None:
    assert len(QUESTIONS) == 25
    for texts in ([q.id for q in QUESTIONS], [q.ask for q in QUESTIONS]):
        assert len({*texts}) == len(QUESTIONS)
    subjects = [question.subject for question in QUESTIONS]
    # A subject is one block of questions, or its heading would be printed twice.
    assert len([s for s, t in zip(subjects, ["", *subjects], strict=False) if s != t]) == len({*subjects}) >= 5
    assert min(Counter(subjects).values()) >= 3


@pytest.mark.parametrize("point", INTERVIEW)
def test_what_interviewers_ask_is_asked(point: str) -> None:
    assert INTERVIEW[point] <= {question.id for question in QUESTIONS}


@EACH
def test_a_question_is_complete(question: Question) -> None:
    assert question.ask.endswith("?") or "? " in question.ask
    assert question.because.endswith(".")
    for text in (question.ask, question.because, *question.options, *question.wrong.values()):
        assert text.isascii(), "a terminal may know no other characters"
        assert text.count("`") % 2 == 0, f"a mark of code is not closed: {text}"
    for why in question.wrong.values():
        assert re.fullmatch(r"[A-Z0-9`g].*\.", why), f"not a sentence: {why}"
    if question.options:
        assert 3 <= len(question.options) <= len(LETTERS)
        assert {*question.right} | {*question.wrong} == {*question.choices}, "each wrong option is explained"
        assert not {*question.right} & {*question.wrong}
        assert len({*question.options}) == len(question.options)
    else:
        assert question.wrong, "a typical mistake is explained"
        assert not any(question.passes([mistake]) for mistake in question.wrong)


def test_guessing_does_not_help() -> None:
    """Neither one letter for all, nor the longest option, nor the next letter is right more often than not."""
    places = Counter(question.right[0] for question in ONE_IS_RIGHT)
    assert {*places} == {*"abcd"}
    assert max(places.values()) <= len(ONE_IS_RIGHT) * 0.4, places
    assert min(places.values()) >= 3, places
    longest = [q.id for q in ONE_IS_RIGHT if q.choices[q.right[0]] == max(q.options, key=len)]
    assert len(longest) <= len(ONE_IS_RIGHT) / 2, longest


# ---- answers ----


CHOICE = Question("id", "subject", "see", "Which?", ("b",), "It is b.", {"a": "Not a.", "c": "Not c."}, ("A", "B", "C"))
SEVERAL = Question("id", "subject", "see", "Which?", ("a", "c"), "They are.", {"b": "Not b."}, ("A", "B", "C"))
IN_WORDS = Question("id", "subject", "see", "Which?", ("9", "SIGKILL"), "It is 9.", {"SIGTERM": "That is 15."})


@pytest.mark.parametrize(
    ("question", "typed", "right"),
    [
        (CHOICE, "b", True),
        (CHOICE, " B ", True),
        (CHOICE, "a", False),
        (SEVERAL, "c, a", True),
        (SEVERAL, "ac", True),
        (SEVERAL, "a", False),
        (SEVERAL, "a b c", False),
        (IN_WORDS, " 9 ", True),
        (IN_WORDS, "sigkill", True),
        (IN_WORDS, "sigterm", False),
    ],
)
def test_an_answer_is_judged_however_it_is_typed(question: Question, typed: str, right: bool) -> None:
    assert question.passes(question.read(typed)) is right


@pytest.mark.parametrize(
    ("question", "typed", "message"),
    [
        (CHOICE, "", "Please type one of a, b, c."),
        (CHOICE, "d", "Please type one of a, b, c."),
        (CHOICE, "both", "Please type one of a, b, c."),
        (CHOICE, "a b", "Please type only one of a, b, c."),
        (SEVERAL, "x", "Please type one of a, b, c, or several."),
        (IN_WORDS, " ", "Please type an answer."),
    ],
)
def test_what_is_no_answer_is_refused_with_what_would_be_one(question: Question, typed: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        question.read(typed)


# ---- the terminal ----


def run(typed: str, *options: str, command: Path = WORKSHOP / "quiz") -> subprocess.CompletedProcess[str]:
    """Run the quiz as somebody would who has nothing but Python, with answers from a pipe."""
    environment = {"PATH": os.environ["PATH"], "COLUMNS": "80"}
    if os.name == "nt":
        pytest.skip("the command is a shell script")
    return subprocess.run(
        [command, *options], input=typed, capture_output=True, text=True, env=environment, timeout=60, check=False
    )


def typed(answers: Iterable[str]) -> str:
    return "".join(f"{answer}\n" for answer in answers)


def unwrapped(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_right_answers_are_all_counted_by_subject() -> None:
    done = run(typed(" ".join(q.right) if q.options else q.right[-1] for q in QUESTIONS))

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\nRight.\n") == 25
    assert "\nScore: 25 of 25.\n" in done.stdout
    for subject, count in Counter(question.subject for question in QUESTIONS).items():
        assert re.search(rf"^  {re.escape(subject)} +{count} of {count}$", done.stdout, re.MULTILINE)
    for question in QUESTIONS:
        assert unwrapped(question.ask) in unwrapped(done.stdout)
        assert unwrapped(question.because) in unwrapped(done.stdout)


def test_wrong_answers_are_explained_and_told_where_to_read_on() -> None:
    done = run(typed(next(iter(question.wrong)) for question in QUESTIONS))

    assert "\nScore: 0 of 25.\n" in done.stdout
    for question in QUESTIONS:
        part, why = next(iter(question.wrong.items()))
        assert f"{part}: {unwrapped(why)} {unwrapped(question.because)}" in unwrapped(done.stdout)
        assert f"Not right: it is {question.solution}." in done.stdout
        assert f'More on this in the handout: "{question.see}".' in unwrapped(done.stdout)


def test_what_is_no_answer_is_asked_again() -> None:
    first = QUESTIONS[0]
    done = run(typed(["", "why?", first.right[0]]))

    assert done.stdout.count("Please type one of a, b, c, d.") == 2
    assert "\nScore: 1 of 1 so far.\n" in done.stdout


def test_one_subject_can_be_asked_alone() -> None:
    asked = [question for question in QUESTIONS if question.subject == "Security"]
    done = run(typed(question.right[0] for question in asked), "--subject", "security")
    assert f"\nScore: {len(asked)} of {len(asked)}.\n  Security" in done.stdout

    done = run("", "--subject", "cooking")
    assert done.returncode == 2
    assert "there is no subject with 'cooking' in its name, only: Images and layers; " in unwrapped(done.stderr)


def test_the_end_of_the_input_ends_it_with_the_score() -> None:
    done = run(typed([QUESTIONS[0].right[0], QUESTIONS[1].right[0]]))

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\nScore: 2 of 2 so far.\n  Images and layers        2 of 2\n")
    assert run("").stdout.endswith("\nScore: 0 of 0 so far.\n")


@pytest.mark.skipif(sys.platform == "win32", reason="pexpect needs a terminal of Unix")
def test_ctrl_c_ends_it_with_the_score() -> None:
    import pexpect  # noqa: PLC0415  it is not installed on Windows

    asking = pexpect.spawn(str(WORKSHOP / "quiz"), encoding="utf-8", timeout=60, dimensions=(40, 80))
    asking.expect_exact("Your answer: ")
    asking.sendline(QUESTIONS[0].right[0])
    asking.expect_exact("Right.")
    asking.expect_exact("Your answer: ")
    asking.sendintr()
    asking.expect_exact("Score: 1 of 1 so far.")
    asking.expect(pexpect.EOF)
    asking.close()

    assert asking.exitstatus == 0
    assert "Traceback" not in (asking.before or "")


def test_who_stops_reading_gets_no_traceback() -> None:
    if os.name == "nt":
        pytest.skip("the command is a shell script")
    command = 'yes "" | "$0" | head -n 3'
    done = subprocess.run(["sh", "-c", command, WORKSHOP / "quiz"], capture_output=True, text=True, check=False)

    assert done.stdout.startswith("Type the letter")
    assert "Traceback" not in done.stderr


def test_it_needs_no_package(tmp_path: Path) -> None:
    """Copied without all else of the workshop, and run without packages, as the kit does it."""
    for name in ("quiz.py", "quiz.toml"):
        shutil.copy2(WORKSHOP / name, tmp_path)
    command = [sys.executable, "-I", "-S", str(tmp_path / "quiz.py")]
    done = subprocess.run(command, input="b\n", capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert "Score: 1 of 1 so far." in done.stdout


def test_without_a_python_that_is_new_enough_it_says_so(tmp_path: Path) -> None:
    for name in ("quiz", "quiz.py"):
        shutil.copy2(WORKSHOP / name, tmp_path)
    (tmp_path / "bin").mkdir()
    for name in ("sh", "dirname"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or skip_or_fail(f"there is no {name}"))
    old = tmp_path / "bin/python3"
    old.write_text("#!/bin/sh\necho no module named tomllib >&2\nexit 1\n")
    old.chmod(0o755)

    done = subprocess.run(
        [tmp_path / "quiz"], env={"PATH": str(old.parent)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("workshop/quiz: it needs Python 3.11 or newer; ")


# ---- the handout ----


@pytest.fixture(scope="module")
def printed() -> str:
    return page.web_page(fill(environment(WORKSHOP / "results/ladder.json")))


@EACH
def test_a_question_is_printed_and_answered_at_the_end(question: Question, printed: str) -> None:
    chapter, solutions = printed.index('<section class="quiz">'), printed.index('<section class="solutions">')
    asked, answered = (printed.index(f'id="{what}-{question.id}"') for what in ("question", "answer"))

    assert chapter < asked < printed.index("</section>", chapter)
    assert solutions < answered < printed.index("</section>", solutions)
    inline = page.parser().renderInline
    assert f"</b> {inline(question.ask)}" in printed[asked:]
    for option in question.options:
        assert f"<li>{inline(option)}</li>" in printed[chapter:solutions]
    assert f"<b>{question.solution}.</b> {inline(question.because)}" in printed[answered:]
    for part, why in question.wrong.items():
        assert f"<li>{part}: {inline(why)}</li>" in printed[answered:]


@EACH
def test_a_question_names_a_place_of_the_handout(question: Question, printed: str) -> None:
    assert f'id="{page.slug(question.see)}"' in printed, f"the handout has no heading {question.see!r}"


def test_the_handout_names_a_subject_of_the_quiz() -> None:
    text = (WORKSHOP / "chapters/quiz.md").read_text(encoding="utf-8")
    [subject] = re.findall(r"`workshop/quiz --subject (\w+)`", text)
    assert any(subject in question.subject.lower() for question in quiz.questions())
