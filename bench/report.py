"""The tables, in Markdown: printed, and put into the page between its two marks."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from pathlib import Path

from bench.adapting import Adapting
from bench.counting import Counting
from bench.footprint import Appliance, Rest
from bench.home_lab import ASLEEP, SITES, HomeLab
from bench.idle import Idle
from bench.neighbours import HELD_S, Neighbours
from bench.rounds import Result
from bench.servers import ONEBOX, Server
from bench.watched import DASHBOARDS, Watched
from bench.workloads import Target, Workload

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
BEGIN = "<!-- what follows is written by scripts/bench --write -->"
END = "<!-- what was written ends here -->"

DEPLOY_TARGET_S = 3.0
START_TARGET_S = 0.5
MEMORY_TARGET_MB = 28
STUCK_TARGET = 1.5
WATCHED_TARGET = 1.1
HOME_LAB_TARGET_MB = 200
IDLE_TARGET_KB = 10
IDLE_TLS_TARGET_KB = 32


def workload_table(workload: Workload, results: list[Result]) -> str:
    """A line for each server; the ratio is to the first one, round by round."""
    first = results[0]
    lines = [
        f"### {workload.name}",
        "",
        f"| | CPU µs a request | × {first.server.name} | requests/s | p50 ms | p99 ms |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for result in results:
        ratio = "1" if result is first else spread(result.cpu_ratios(first))
        lines.append(
            f"| {result.server.name} | {result.median(lambda s: s.cpu_us):.1f} | {ratio} "
            f"| {result.median(lambda s: s.per_s):,.0f} | {result.median(lambda s: s.p50_ms):.1f} "
            f"| {result.median(lambda s: s.p99_ms):.1f} |"
        )
    return "\n".join([*lines, ""])


def target_lines(workload: Workload, results: list[Result]) -> list[str]:
    """The workload's aims, as lines of the table of targets."""
    by_server = {result.server: result for result in results}
    return [
        target_line(workload, target, by_server)
        for target in workload.targets
        if target.server in by_server and target.peer in by_server
    ]


def target_line(workload: Workload, target: Target, by_server: dict[Server, Result]) -> str:
    ratios = by_server[target.server].cpu_ratios(by_server[target.peer])
    return _target(
        f"{workload.name}: CPU of {target.server.name} to {target.peer.name}",
        f"≤ {target.ratio}",
        spread(ratios),
        statistics.median(ratios) <= target.ratio,
    )


def idle_table(count: int, results: list[Idle]) -> str:
    lines = [
        f"### Idle connections: memory of each of {count:,}",
        "",
        "| | plain | TLS |",
        "|---|---:|---:|",
    ]
    lines += [f"| {one.server.name} | {kilobytes(one.plain):.1f} KB | {kilobytes(one.tls):.1f} KB |" for one in results]
    return "\n".join([*lines, ""])


def idle_targets(results: list[Idle]) -> list[str]:
    onebox = next(one for one in results if one.server is ONEBOX)
    return [
        _target(what, f"≤ {aim_kb} KB", f"{kilobytes(size_bytes):.1f} KB", kilobytes(size_bytes) <= aim_kb)
        for what, aim_kb, size_bytes in (
            ("An idle connection to onebox", IDLE_TARGET_KB, onebox.plain),
            ("An idle connection to onebox over TLS", IDLE_TLS_TARGET_KB, onebox.tls),
        )
    ]


def neighbours_table(results: list[Neighbours]) -> str:
    lines = [
        "### Neighbours in one process",
        "",
        "| | p99 ms | with a thread that sleeps | slowest file in "
        f"{HELD_S / 2:.0f} s while Python keeps the GIL, ms |",
        "|---|---:|---:|---:|",
    ]
    for result in results:
        free, stuck, held = (statistics.median(one) for one in (result.free_p99_ms, result.stuck_p99_ms, result.held_ms))
        lines.append(f"| {result.server.name} | {free:.2f} | {stuck:.2f} | {held:.1f} |")
    return "\n".join([*lines, ""])


def neighbours_targets(results: list[Neighbours]) -> list[str]:
    return [
        _target(
            f"A fast view beside a stuck thread: p99 of {result.server.name} to its own without",
            f"≤ {STUCK_TARGET}",
            spread(result.stuck_ratios()),
            statistics.median(result.stuck_ratios()) <= STUCK_TARGET,
        )
        for result in results
    ]


def watched_text(seen: Watched) -> str:
    alone, watched = statistics.median(seen.alone_p99_ms), statistics.median(seen.watched_p99_ms)
    return "\n".join(
        [
            "### Dashboards",
            "",
            f"p99 of the Flask site under load: {alone:.1f} ms, and {watched:.1f} ms while {DASHBOARDS} dashboards watch.",
            "",
        ]
    )


def counting_text(cost: Counting) -> str:
    return "\n".join(
        [
            "### Counting",
            "",
            f"To count a request: {cost.alone_ns:.0f} ns, and {cost.shared_ns:.0f} ns on each of two threads that count for the "
            "same site.",
            "",
        ]
    )


def watched_targets(seen: Watched) -> list[str]:
    return [
        _target(
            f"A busy box that {DASHBOARDS} dashboards watch: p99 to its own without",
            f"≤ {WATCHED_TARGET}",
            spread(seen.ratios()),
            statistics.median(seen.ratios()) <= WATCHED_TARGET,
        )
    ]


def growth_and_sleep(adapted: Adapting, at_home: HomeLab) -> str:
    one, auto = statistics.median(adapted.one_per_s), statistics.median(adapted.auto_per_s)
    return "\n".join(
        [
            "### Growth and sleep",
            "",
            f"The Flask site under load: {one:,.0f} requests/s with one process, {auto:,.0f} with `processes = \"auto\"`, which "
            f"made it {adapted.processes}; {adapted.back_after_s:.0f} s after the load it had one again.",
            "",
            f"{SITES} sites of `examples/flask`, of which {ASLEEP} sleep: {megabytes(at_home.pss_bytes):.0f} MB for all processes of "
            f"the appliance. A site that sleeps has answered {statistics.median(at_home.wake_s):.2f} s after it is asked.",
            "",
        ]
    )


def growth_and_sleep_targets(adapted: Adapting, at_home: HomeLab) -> list[str]:
    gain, memory_mb = statistics.median(adapted.gains()), megabytes(at_home.pss_bytes)
    return [
        _target('Requests a second of `processes = "auto"` to one process', "> 1", spread(adapted.gains()), gain > 1),
        _target(
            f"{SITES} idle Flask sites, {ASLEEP} asleep",
            f"< {HOME_LAB_TARGET_MB} MB",
            f"{memory_mb:.0f} MB",
            memory_mb < HOME_LAB_TARGET_MB,
        ),
    ]


def footprint_tables(rests: list[Rest], appliance: Appliance) -> str:
    lines = [
        "### At rest: the Flask site, asked once",
        "",
        "| | memory (PSS) | start to first answer |",
        "|---|---:|---:|",
    ]
    for rest in rests:
        start = f"{statistics.median(rest.first_answers_s):.2f} s"
        lines.append(f"| {rest.server.name} | {megabytes(rest.pss_bytes):.0f} MB | {start} |")
    lines += [
        "",
        f"The appliance with `examples/flask`: {megabytes(appliance.pss_bytes):.1f} MB; that Python with the site "
        f"imported and nothing that serves it: {megabytes(appliance.interpreter_bytes):.1f} MB.",
        "",
    ]
    return "\n".join(lines)


def appliance_targets(appliance: Appliance) -> list[str]:
    deploy_s = statistics.median(appliance.deploys_s)
    start_s = statistics.median(appliance.first_answers_s)
    extra_mb = megabytes(appliance.pss_bytes - appliance.interpreter_bytes)
    return [
        _target(
            "Supervisor and engine with an idle Flask site, beyond its bare interpreter",
            f"≤ {MEMORY_TARGET_MB} MB",
            f"{extra_mb:.1f} MB",
            extra_mb <= MEMORY_TARGET_MB,
        ),
        _target(
            "Deploy of an unchanged Flask site", f"≤ {DEPLOY_TARGET_S} s", f"{deploy_s:.2f} s", deploy_s <= DEPLOY_TARGET_S
        ),
        _target(
            "Start of the appliance to its first answer",
            f"≤ {START_TARGET_S} s",
            f"{start_s:.2f} s",
            start_s <= START_TARGET_S,
        ),
    ]


def targets_table(lines: Iterable[str]) -> str:
    return "\n".join(["### Targets", "", "| | target | measured | |", "|---|---:|---:|---|", *lines, ""])


def write(text: str, page: Path = PAGE) -> None:
    """Replaces what an earlier run put into the page."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise RuntimeError(f"{page}: its two marks are missing")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")


def spread(ratios: list[float]) -> str:
    """The median, and the range of the rounds."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def kilobytes(size_bytes: float) -> float:
    return size_bytes / (1 << 10)


def megabytes(size_bytes: float) -> float:
    return size_bytes / (1 << 20)


def _target(what: str, aim: str, measured: str, met: bool) -> str:
    return f"| {what} | {aim} | {measured} | {'met' if met else 'missed'} |"
