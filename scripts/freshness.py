"""List how old every pin is, and for how long `make refresh` could have taken a newer one: `make freshness`.

Age alone says little: many a good package needs no new release. A pin is behind while a refresh would replace it,
counted from the day on which something newer came out. With --max-age one that has been behind for longer is a failure,
and so is one of which nobody could be asked.
"""

import itertools
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import NamedTuple

from rich.table import Table

from scripts.pins import (
    Pin,
    Publishers,
    Tree,
    UnknownError,
    UnreachableError,
    comparable,
    cycles,
    debian_choice,
    debian_release,
    midnight,
    offered_pythons,
    pins,
    python_choices,
    version_of,
)
from scripts.refresh import console, parser, plan

# How far back the table of ends of life is asked.
DECADE = 3650


class Age(NamedTuple):
    """A row of the table. Both ages are in days, None where they could not be learned."""

    behind: int | None
    age: int | None
    kind: str
    name: str
    version: str
    newer: str


def age(pin: Pin, newer: str, publishers: Publishers, today: date) -> Age:
    """Return how old a pin is, and since when there has been something newer, if a refresh would take that."""
    unknown = Age(None, None, pin.kind, pin.name, pin.version, newer)
    try:
        releases = publishers.releases(pin)
    except (UnreachableError, UnknownError):
        return unknown
    # A lock has more than one version where platforms need different ones; the oldest counts.
    current = version_of(pin.version) if pin.digest else min(map(comparable, pin.version.split(", ")))
    if current not in releases:
        return unknown
    later = [release.published for version, release in releases.items() if version > current]
    now = midnight(today)
    behind = (now - min(later)).days if newer and later else 0
    return unknown._replace(behind=max(behind, 0), age=max((now - releases[current].published).days, 0))


def age_of_choice(pin: Pin, choice: Callable[[date], str], released: date | None, today: date) -> Age:
    """Return how old a choice by the table of ends of life is, and for how long the table has given another."""
    wanted = choice(today)
    same = itertools.takewhile(lambda ago: choice(today - timedelta(ago)) == wanted, range(DECADE))
    behind, newer = (0, "") if pin.version == wanted else (sum(1 for _ in same), wanted)
    return Age(behind, (today - released).days if released else None, pin.kind, pin.name, pin.version, newer)


def ages(tree: Tree, publishers: Publishers, today: date) -> tuple[list[Age], list[str]]:
    """Return the age of every pin, the stalest first, and what kept refresh from knowing better."""
    planned, changes, problems = plan(tree, publishers, today)
    newer = {(change.kind, change.name, change.old): change.new for change in changes}

    def age_of(pin: Pin) -> Age:
        return age(pin, newer.get((pin.kind, pin.name, str(pin)), ""), publishers, today)

    with ThreadPoolExecutor(8) as threads:
        rows = list(threads.map(age_of, pins(tree)))

    # Judged by the table as it would be after a refresh.
    released = {row.cycle: row.released for product in ("python", "debian") for row in cycles(planned, product)}
    pythons, debian = offered_pythons(tree), debian_release(tree)
    rows += [
        age_of_choice(
            Pin("base", "Python", ", ".join(pythons)),
            lambda day: ", ".join(python_choices(planned, day)),
            released.get(pythons[0]),
            today,
        ),
        age_of_choice(
            Pin("base", "Debian", debian), lambda day: debian_choice(planned, day), released.get(debian), today
        ),
    ]
    rows.sort(key=lambda row: (DECADE if row.behind is None else row.behind, row.age or 0), reverse=True)
    return rows, problems


def main() -> int:
    """Print the ages; return 1 if there is a limit and something is beyond it or not known."""
    options = parser(__doc__)
    options.add_argument("--max-age", type=int, metavar="DAYS", help="fail if a pin has been behind for longer")
    chosen = options.parse_args()
    output = console()
    with output.status("Asking the publishers, uv and npm …"):
        rows, problems = ages(Tree(chosen.root), Publishers(chosen.through), chosen.today)

    table = Table("", "Pin", "Version", "Age, days", "Newer", "Behind, days")
    for row in rows:
        numbers = ["?" if number is None else str(number) for number in (row.age, row.behind)]
        table.add_row(row.kind, row.name, row.version, numbers[0], row.newer, numbers[1])
    output.print(table)
    for problem in problems:
        output.print(f"Not known: {problem}", soft_wrap=True)
    behind = [row for row in rows if row.behind]
    unknown = [row for row in rows if row.behind is None]
    output.print(f"{len(rows)} pins, {len(behind)} of them behind, {len(unknown)} not known.")
    if chosen.max_age is None:
        return 0

    stale = [row for row in behind if row.behind and row.behind > chosen.max_age]
    for row in stale:
        output.print(
            f"Too old: {row.name} {row.version} has been behind {row.newer} for {row.behind} days, "
            f"{chosen.max_age} are allowed; run make refresh.",
            soft_wrap=True,
        )
    return 1 if stale or unknown or problems else 0


if __name__ == "__main__":
    sys.exit(main())
