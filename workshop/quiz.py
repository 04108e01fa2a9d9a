"""Ask the questions of quiz.toml one after the other: `workshop/quiz`.

It needs nothing but Python, so it works from the kit, before anything is installed and without a network. Answers may
come from a pipe. The end of the input, or Ctrl-C, ends the quiz with the score so far.
"""

import argparse
import os
import shutil
import sys
import textwrap
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

FILE = Path(__file__).with_suffix(".toml")
LETTERS = "abcde"
HELLO = "Type the letter of the right answer, or a word or number where there are no letters. Ctrl-C ends the quiz."


@dataclass(frozen=True)
class Question:
    """One question. Without options it is answered in words, and each of `right` will do."""

    id: str
    subject: str
    see: str
    ask: str
    right: tuple[str, ...]
    because: str
    wrong: Mapping[str, str] = field(hash=False)
    options: tuple[str, ...] = ()

    @property
    def several(self) -> bool:
        """Tell whether more than one option is right."""
        return bool(self.options) and len(self.right) > 1

    @property
    def solution(self) -> str:
        """Return what is right, as an answer would say it: all letters, or one way to say it in words."""
        return ", ".join(self.right) if self.options else self.right[0]

    @property
    def choices(self) -> dict[str, str]:
        """Return the options by their letters."""
        return dict(zip(LETTERS, self.options, strict=False))

    def read(self, typed: str) -> list[str]:
        """Return what was chosen, or the answer in words; raise ValueError that says what would be an answer."""
        words = " ".join(typed.split())
        if not self.options:
            if not words:
                raise ValueError("Please type an answer.")
            return [words]
        chosen = sorted({*words.lower()} - {*" ,"})
        letters = ", ".join(self.choices)
        if not chosen or not {*chosen} <= self.choices.keys():
            raise ValueError(f"Please type one of {letters}" + (", or several." if self.several else "."))
        if len(chosen) > 1 and not self.several:
            raise ValueError(f"Please type only one of {letters}.")
        return chosen

    def passes(self, answer: Sequence[str]) -> bool:
        """Tell whether an answer is right."""
        if self.options:
            return sorted(answer) == sorted(self.right)
        return answer[0].casefold() in {right.casefold() for right in self.right}

    def why_not(self, answer: Sequence[str]) -> dict[str, str]:
        """Return what is wrong with an answer, as far as the quiz can say, by the part of it that is wrong."""
        return {part: why for part, why in self.wrong.items() if part.casefold() in {a.casefold() for a in answer}}


def questions() -> tuple[Question, ...]:
    """Return all questions, in order."""
    listed = tomllib.loads(FILE.read_text(encoding="utf-8"))["question"]
    lists = ("right", "options")
    return tuple(Question(**{**each, **{name: tuple(each.get(name, ())) for name in lists}}) for each in listed)


def say(text: str = "", label: str = "") -> None:
    """Print a paragraph, as wide as the terminal allows and as is good to read; behind a label, if there is one."""
    width = min(shutil.get_terminal_size().columns, 100)
    start, rest = (f"  {label:3}", "     ") if label else ("", "")
    print(textwrap.fill(text, width, initial_indent=start, subsequent_indent=rest, break_on_hyphens=False))


def answer_to(question: Question) -> list[str]:
    """Ask until there is an answer, and return it."""
    while True:
        typed = input("\nYour answer: ")
        if not sys.stdin.isatty():
            print(typed)
        try:
            return question.read(typed)
        except ValueError as error:
            print(error)


def pose(question: Question) -> bool:
    """Ask a question, say whether the answer is right and why, and return whether it is."""
    say(question.ask + (" Choose all that are right." if question.several else ""))
    print()
    for letter, option in question.choices.items():
        say(option, letter)
    answer = answer_to(question)
    passed = question.passes(answer)
    print("\nRight.\n" if passed else f"\nNot right: it is {question.solution}.\n")
    for part, why in question.why_not(answer).items():
        say(f"{part}: {why}")
    say(question.because)
    if not passed:
        say(f'More on this in the handout: "{question.see}".')
    return passed


def show_score(asked: Sequence[Question], results: Sequence[bool]) -> None:
    """Print how many answers were right, in all and by subject."""
    print(f"\nScore: {sum(results)} of {len(results)}" + ("." if len(results) == len(asked) else " so far."))
    by_subject: dict[str, list[bool]] = {}
    for question, passed in zip(asked, results, strict=False):
        by_subject.setdefault(question.subject, []).append(passed)
    for subject, passed_ones in by_subject.items():
        print(f"  {subject:<24} {sum(passed_ones)} of {len(passed_ones)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask, and show the score."""
    every = questions()
    subjects = list(dict.fromkeys(question.subject for question in every))
    parser = argparse.ArgumentParser(prog="workshop/quiz", description=f"{len(every)} questions with their answers.")
    parser.add_argument("--subject", default="", metavar="WORD", help=f"only one of: {'; '.join(subjects)}")
    subject = parser.parse_args(arguments).subject
    asked = [question for question in every if subject.casefold() in question.subject.casefold()]
    if not asked:
        parser.error(f"there is no subject with {subject!r} in its name, only: {'; '.join(subjects)}")

    results: list[bool] = []
    say(HELLO)
    try:
        for number, question in enumerate(asked, start=1):
            print(f"\n---- {number} of {len(asked)}: {question.subject} ----\n")
            results.append(pose(question))
    except (EOFError, KeyboardInterrupt):
        print()
    show_score(asked, results)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:
        # Who reads has seen enough, as `head` has. What is left in the buffer has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
