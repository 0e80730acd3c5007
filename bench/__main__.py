"""The command: `scripts/bench` makes the binary and the virtual environment, then calls this with the latter's Python."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from bench import adapting, counting, footprint, home_lab, idle, machine, neighbours, report, watched
from bench.load import Load
from bench.rounds import measure
from bench.servers import Tools
from bench.workloads import WORKLOADS, Workload

IDLE = "idle"
WATCHED = "watched"
GROWTH = "growth"
COUNTING = "counting"
OTHERS = (IDLE, WATCHED, GROWTH, COUNTING)


def main() -> None:
    asked = arguments()
    tools = Tools(onebox=asked.onebox, venv=Path(sys.prefix))
    load = Load(asked.connections, asked.seconds)
    parts = [heading(tools, asked)]
    targets: list[str] = []
    say(parts[0])
    with tempfile.TemporaryDirectory(prefix="onebox-bench-") as name:
        folder = Path(name)
        for workload in chosen(asked.workload):
            results = measure(workload, tools, folder, load, asked.rounds)
            parts.append(report.workload_table(workload, results))
            targets += report.target_lines(workload, results)
            say(parts[-1])
        if not asked.workload or IDLE in asked.workload:
            count, connections = idle.measure_idle(tools, folder)
            parts.append(report.idle_table(count, connections))
            targets += report.idle_targets(connections)
            say(parts[-1])
        if not asked.workload:
            disturbed = neighbours.measure_neighbours(tools, folder, asked.rounds)
            parts.append(report.neighbours_table(disturbed))
            targets += report.neighbours_targets(disturbed)
            say(parts[-1])
        if not asked.workload or WATCHED in asked.workload:
            seen = watched.measure_watched(tools, folder, load)
            parts.append(report.watched_text(seen))
            targets += report.watched_targets(seen)
            say(parts[-1])
        if not asked.workload or GROWTH in asked.workload:
            adapted = adapting.measure_adapting(tools, folder, load, asked.rounds)
            at_home = home_lab.measure_home_lab(tools, folder)
            parts.append(report.growth_and_sleep(adapted, at_home))
            targets += report.growth_and_sleep_targets(adapted, at_home)
            say(parts[-1])
        if not asked.workload:
            rests = footprint.servers_at_rest(tools, folder, asked.rounds)
            appliance = footprint.appliance_with_flask(tools, folder, asked.rounds)
            parts.append(report.footprint_tables(rests, appliance))
            targets += report.appliance_targets(appliance)
            say(parts[-1])
        if not asked.workload or COUNTING in asked.workload:
            parts.append(report.counting_text(counting.measure_counting()))
            say(parts[-1])
    parts.append(report.targets_table(targets))
    say(parts[-1])
    if asked.write:
        report.write("\n".join(parts))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--onebox", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=7, help="turns of each server [7]")
    parser.add_argument("--seconds", type=int, default=3, help="of load in each turn [3]")
    parser.add_argument("--connections", type=int, default=32, help="at the same time [32]")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    parser.add_argument("workload", nargs="*", help=f"parts of the names of some workloads only, or {', '.join(OTHERS)}")
    asked = parser.parse_args()
    if asked.write and asked.workload:
        parser.error("--write takes the whole run: name no workloads")
    return asked


def chosen(words: list[str]) -> list[Workload]:
    """The workloads that one of the words names, or all."""
    if not words:
        return list(WORKLOADS)
    named = [one for one in WORKLOADS if any(word.lower() in one.name.lower() for word in words)]
    if not named and not any(word in OTHERS for word in words):
        sys.exit(f"no such workload; there are: {', '.join([*OTHERS, *(one.name for one in WORKLOADS)])}")
    return named


def heading(tools: Tools, asked: argparse.Namespace) -> str:
    what = ", ".join(machine.versions(tools))
    how = f"{asked.rounds} rounds of {asked.seconds} s, {asked.connections} connections"
    return f"{time.strftime('%Y-%m-%d')} on {machine.description()}.\n{what}.\n{how}.\n"


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
