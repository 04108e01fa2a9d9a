"""What `make bench` has measured: its tables, its targets and its chart.

A cell is the median of all rounds, with the lowest and the highest where there is room. A ratio is that of the template
to another image in the same round, so that what slows the machine for a while slows both.
"""

import statistics
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from benchmarks import measures
from benchmarks.variants import BASELINES, ON_GUNICORN, TEMPLATE_NAME
from tools.charts import BLUE, GREY, INK, frame

# Numbers by measure and by what was measured, one or more a round. MB are those of the SI.
Samples = dict[str, dict[str, list[float]]]

# Workers of the memory measure. Under load there is one for each core.
MEMORY_WORKERS = 4
GROWTH = (1, 2, 3, 4, 8)
QUIET = "template, no access log"
DIRECT, PROXIED = "straight to the service", "through the proxy, to two replicas"

START, CPU = "start, `docker run` included (ms)", "CPU to the first response (ms)"
PROBE = "CPU of one health probe (ms)"
PSS = f"memory of {MEMORY_WORKERS} workers, PSS (MB)"
KEPT, CLOSED = "requests a second, connections kept", "requests a second, a connection each"
SIZE, COMPRESSED = "image on disk (MB)", "image compressed by gzip (MB)"
COLD, LOCK = "cold build (s)", "rebuild with one package more (s)"
CODE, NO_OP = "rebuild after an edit of code (s)", "rebuild after no edit (s)"
COMPARED = (START, CPU, PROBE, PSS, KEPT, CLOSED, SIZE, COMPRESSED, COLD, LOCK, CODE, NO_OP)
# What stands before a colon names the table.
RATE, MEMORY = "workers: requests a second", "workers: memory, PSS (MB)"
LATENCY = "latency: "
PULL_SIZE, PULL, RUN, BOTH = "pull: compressed (MB)", "pull: pull (ms)", "pull: start (ms)", "pull: both (ms)"


@dataclass(frozen=True)
class Target:
    """A ratio that the template must reach, to the best of some others."""

    measure: str
    limit: float
    others: Sequence[str] = BASELINES
    at_least: bool = False
    whom: str = "the best of the four"

    def best(self, samples: Samples) -> str | None:
        """Return the name of the best of the others; None where nothing was measured."""
        medians = {
            name: statistics.median(values)
            for name, values in samples.get(self.measure, {}).items()
            if name in self.others
        }
        return (max if self.at_least else min)(medians, key=lambda name: medians[name]) if medians else None

    def ratios(self, samples: Samples) -> list[float]:
        """Return the ratio to the best of the others in each round; none where nothing was measured."""
        if (best := self.best(samples)) is None:
            return []
        by_name = samples[self.measure]
        return [ours / theirs for ours, theirs in zip(by_name[TEMPLATE_NAME], by_name[best], strict=True)]

    def met(self, samples: Samples) -> bool | None:
        """Tell whether the median of the ratios is good enough; None where nothing was measured."""
        if not (ratios := self.ratios(samples)):
            return None
        median = statistics.median(ratios)
        return median >= self.limit if self.at_least else median <= self.limit


GUNICORN = "the best with gunicorn"
TARGETS = (
    Target(START, 0.55),
    Target(CPU, 0.38),
    Target(CPU, 0.33, ON_GUNICORN, whom=GUNICORN),
    Target(PSS, 0.62),
    Target(KEPT, 1.0, at_least=True),
    Target(CLOSED, 0.8, at_least=True),
    Target(KEPT, 0.8, (QUIET,), at_least=True, whom="itself without an access log"),
)


# ---- tables ----


def number(value: float) -> str:
    """Return a number with three digits, or all before the point."""
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"


def median(values: Sequence[float]) -> str:
    """Return the median; nothing where nothing was measured."""
    return number(statistics.median(values)) if values else ""


def spread(values: Sequence[float]) -> str:
    """Return median, lowest and highest, as far as there are any."""
    return f"{median(values)} ({number(min(values))} to {number(max(values))})" if len(values) > 1 else median(values)


def by_measure(samples: Samples, shown: Iterable[str], names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return a row for each measure: its name, and a cell for each of the names."""
    known = [measure for measure in shown if measure in samples]
    return [(measure, *(spread(samples[measure].get(name, [])) for name in names)) for measure in known]


def compared(samples: Samples) -> str:
    """Return the table of all that was measured of the template and the baselines."""
    names = (TEMPLATE_NAME, *BASELINES, QUIET)
    return measures.markdown(("Median (lowest to highest)", *names), by_measure(samples, COMPARED, names))


def targets(samples: Samples) -> str:
    """Return the table of targets, and whether they are met."""
    rows = []
    for target in TARGETS:
        best, ratios = target.best(samples), target.ratios(samples)
        whom = f"{target.whom}: {best}" if best and len(target.others) > 1 else target.whom
        verdict = {True: "met", False: "missed", None: "not measured"}[target.met(samples)]
        limit = f"{'at least' if target.at_least else 'at most'} {target.limit:.2f}"
        rows.append((target.measure, whom, spread(ratios), limit, verdict))
    return measures.markdown(("Measure", "Against", "Ratio (lowest to highest)", "Target", ""), rows)


def part(samples: Samples, title: str, what: str) -> str:
    """Return the table of the measures that begin with a title: a row for each name, a column for each measure."""
    shown = [measure for measure in samples if measure.startswith(f"{title}: ")]
    names = {name: None for measure in shown for name in samples[measure]}
    rows = [(name, *(spread(samples[measure].get(name, [])) for measure in shown)) for name in names]
    return measures.markdown((what, *(measure.removeprefix(f"{title}: ") for measure in shown)), rows)


def growth(samples: Samples) -> str:
    """Return the table of requests a second and memory by the number of workers."""
    return part(samples, "workers", "Workers")


def latency(samples: Samples) -> str:
    """Return the table of latency at half of the peak."""
    return part(samples, "latency", "Half of the peak")


def pulls(samples: Samples) -> str:
    """Return the table of pulls and cold starts."""
    return part(samples, "pull", "Image")


def summary(samples: Samples) -> str:
    """Return the short table for the README: medians, and the ratio to the best of the baselines with its spread."""
    names = (TEMPLATE_NAME, *BASELINES)
    first = {target.measure: target for target in reversed(TARGETS) if target.whom == "the best of the four"}
    rows = [
        (measure, *(median(samples[measure].get(name, [])) for name in names), spread(target.ratios(samples)))
        for measure, target in sorted(first.items(), key=lambda item: COMPARED.index(item[0]))
        if measure in samples
    ]
    return measures.markdown(("Median", *names, "ratio to the best"), rows)


def where(results: dict[str, Any]) -> str:
    """Return in one line on what was measured, and how busy it was before."""
    on, of = results["machine"], results["versions"]
    load = "" if on["load"] is None else f", load average {on['load']:.1f} before the run"
    rounds = f"{results['rounds']} round{'s' * (results['rounds'] > 1)} in one run"
    return (
        f"{rounds}, on {on['cpus']} cores with Docker {of['docker']}, "
        f"Python {of['python']}, Flask {of['flask']} and gunicorn {of['gunicorn']}{load}."
    )


def report(results: dict[str, Any]) -> str:
    """Return all tables, each under a title, as far as something was measured for it."""
    samples = results["samples"]
    parts = {
        "Targets": targets(samples),
        "Template and baselines": compared(samples),
        "Workers": growth(samples),
        "Latency": latency(samples),
        "Pull": pulls(samples),
    }
    text = "\n".join(f"## {title}\n\n{table}" for title, table in parts.items() if table.count("\n") > 2)
    return f"# Measured by `make bench`\n\n{where(results)}\n\n{text}"


# ---- chart ----


def draw(results: dict[str, Any]) -> Figure:
    """Return the chart: a panel for each of the main measures, with a bar for each image."""
    samples: Samples = results["samples"]
    shown = {
        START: "start, with docker run (ms)",
        CPU: "CPU until then (ms)",
        PSS: "memory of 4 workers (MB)",
        KEPT: "requests a second",
    }
    shown = {measure: title for measure, title in shown.items() if measure in samples}
    figure, panels = frame(
        "The service beside four usual ways to build one",
        "In proportion to the template. Less is better, but for requests a second (connections kept)",
        "The same base image, Flask and gunicorn; blog-post runs Flask's own server, which has no workers\n"
        + textwrap.fill(f"Medians of {where(results)}", 115),
        height=1.2 * len(shown),
        panels=(1,) * len(shown),
    )
    for panel, (measure, title) in zip(panels, shown.items(), strict=True):
        medians = {name: statistics.median(values) for name, values in samples[measure].items() if name != QUIET}
        names = [name for name in (TEMPLATE_NAME, *BASELINES) if name in medians]
        lengths = [medians[name] / medians[TEMPLATE_NAME] for name in names]
        bars = panel.barh(names, lengths, color=[BLUE if name == TEMPLATE_NAME else GREY for name in names], height=0.7)
        panel.bar_label(bars, [number(medians[name]) for name in names], padding=4, color=INK, fontsize=9)
        panel.set_title(title, loc="left", fontsize=10)
        panel.invert_yaxis()
        panel.spines["left"].set_visible(False)
        panel.set_xticks([])
    return figure
