"""The charts of the ladder: what is in results/ladder.json, drawn by tools.charts."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tools.charts import Caption, bars, save, verdicts

Result = dict[str, Any]

KINDS = (
    "base image",
    "Python and what it needs",
    "compiled standard library",
    "packages",
    "code and context",
    "other",
)


def draw(results: Result) -> dict[str, Figure]:
    """Return the charts by name."""
    return {"sizes": sizes(results), "start": start(results), "scorecard": scorecard(results)}


def write(results: Result, folder: Path) -> None:
    """Write the charts into a folder."""
    for name, figure in draw(results).items():
        save(figure, folder / name)


def names(results: Result) -> list[str]:
    """Return the short names of the rungs."""
    return [f"{rung['number']} {rung['name']}" for rung in results["rungs"]]


def caption(title: str, note: str, results: Result) -> Caption:
    """Return a caption that says when, on what and with what was measured."""
    on, of = results["machine"], results["versions"]
    return Caption(
        title,
        note,
        f"Measured {results['date']} on {on['cpus']} CPUs, {on['system']}, Docker {of['docker']}\n"
        f"Python {of['python']}, Flask {of['flask']}, gunicorn {of['gunicorn']}; "
        f"base images: {of['slim_image']}, {of['full_image']}",
    )


def sizes(results: Result) -> Figure:
    """Draw the sizes."""
    note = "On disk, by what is in the layers; below each number what a registry sends. A bar with a gap is longer."
    rungs = results["rungs"]
    parts = {
        kind: [sum(layer["bytes"] for layer in rung["layers"] if layer["kind"] == kind) for rung in rungs]
        for kind in KINDS
    }
    totals = [sum(layer["bytes"] for layer in rung["layers"]) for rung in rungs]
    labels = [
        (f"{total / 1e6:.0f} MB", f"{rung['compressed_bytes'] / 1e6:.0f} MB to pull")
        for total, rung in zip(totals, rungs, strict=True)
    ]
    return bars(caption("How large is the image?", note, results), names(results), parts, labels)


def start(results: Result) -> Figure:
    """Draw the times of start, by whether all code was compiled: row 8 of the contract."""
    note = "From the start of the process to the first answer, in a container that cannot write to its image."
    compiled = [rung["rows"]["8"]["status"] == "passed" for rung in results["rungs"]]
    times = [rung["start_ms"] for rung in results["rungs"]]
    parts = {
        meaning: [time or 0 if made == wanted else 0 for time, made in zip(times, compiled, strict=True)]
        for meaning, wanted in (
            ("something is compiled at every start", False),
            ("all code was compiled when the image was built", True),
        )
    }
    labels = [("does not start" if time is None else f"{time:.0f} ms", "") for time in times]
    return bars(caption("How long until the first answer?", note, results), names(results), parts, labels)


def scorecard(results: Result) -> Figure:
    """Draw the verdicts."""
    note = (
        "The container contract, asked of every rung: \N{CHECK MARK} passed, \N{BALLOT X} failed,"
        " \N{EN DASH} cannot be asked of this image. At the foot: how many rows passed."
    )
    rungs = results["rungs"]
    rows = rungs[0]["rows"]
    return verdicts(
        caption("What is the image fit for?", note, results),
        [f"{row['title']} {number:>3}" for number, row in rows.items()],
        names(results),
        [f"{rung['rows_passed']}\nof {rung['rows_applicable']}" for rung in rungs],
        [[rung["rows"][number]["status"] for rung in rungs] for number in rows],
    )
