"""Take the last results of `make bench` and `make rollout` into the repository: `make figures`.

Numbers and charts go from results/ beside the programs, and the tables into README.md and docs/figures.md.
"""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import comparison, rollout
from tools.baking import TEMPLATE
from tools.readme import replaced

HERE = Path(__file__).parent
KEPT = ("bench.json", "bench.svg", "bench-dark.svg", "rollout.json", "rollout.svg", "rollout-dark.svg")


def block(name: str) -> re.Pattern[str]:
    """Return what finds the text between the marks of a block in Markdown."""
    return re.compile(rf"(?<=<!-- {name}: written by make figures -->\n)\n.*?(?=<!-- end -->)", re.DOTALL)


def stored(name: str) -> dict[str, Any]:
    """Return the results in the repository."""
    results: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return results


def blocks() -> dict[str, dict[str, str]]:
    """Return the text of all blocks, by file and name."""
    bench, replaced_under_load = stored("bench"), stored("rollout")
    tables: dict[str, Callable[[comparison.Samples], str]] = {
        "targets": comparison.targets,
        "compared": comparison.compared,
        "workers": comparison.growth,
        "latency": comparison.latency,
        "pull": comparison.pulls,
    }
    return {
        "README.md": {"summary": comparison.summary(bench["samples"])},
        "docs/figures.md": {
            "run": f"Medians of {comparison.where(bench)}\n",
            **{name: table(bench["samples"]) for name, table in tables.items()},
            "rollout": rollout.table(replaced_under_load),
        },
    }


def main() -> None:
    """Copy what has been measured, and write the documents."""
    for name in KEPT:
        if (HERE / "results" / name).exists():
            shutil.copy2(HERE / "results" / name, HERE / name)
    for file, texts in blocks().items():
        document = TEMPLATE / file
        text = document.read_text(encoding="utf-8")
        for name, new in texts.items():
            text = replaced(block(name), f"\n{new}\n", text)
        document.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
