"""What ten dashboards that watch a busy box do to those who ask its site."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from bench.footprint import FLASK, wait_for_control_socket
from bench.load import Load, first_answer_s, put_under_load
from bench.processes import Group, settle
from bench.rounds import SITES, free_port
from bench.servers import Tools

DASHBOARDS = 10
# Enough for the site to be busy all the time, too few for p99 to be the length of its queue.
CONNECTIONS = 8
SAMPLE = b"event: sample"
# A pause of the machine makes the p99 of a turn another one: many short turns, of which the middle counts.
TURNS = 31
TURN_S = 1


@dataclass(frozen=True)
class Watched:
    """In every round alone and watched, one after the other."""

    alone_p99_ms: list[float]
    watched_p99_ms: list[float]

    def ratios(self) -> list[float]:
        return [watched / alone for watched, alone in zip(self.watched_p99_ms, self.alone_p99_ms)]


def measure_watched(tools: Tools, folder: Path, load: Load) -> Watched:
    home, port = folder / "watched", free_port()
    site, state = home / "site", home / "state"
    shutil.copytree(SITES / FLASK.site, site, ignore=shutil.ignore_patterns("__pycache__"))
    (site / "onebox.toml").write_text(f'module = "app:application"\npython = "{tools.venv}"\n')
    env = {
        "ONEBOX_STATE_DIR": str(state),
        "ONEBOX_CONFIG_DIR": str(home),
        "ONEBOX_HTTP": f"127.0.0.1:{port}",
        "ONEBOX_ADMIN": "127.0.0.1:0",
    }
    load = replace(load, connections=CONNECTIONS, seconds=TURN_S)
    result = Watched([], [])
    with Group([[str(tools.onebox), "serve"]], env, home / "server.log") as group:
        wait_for_control_socket(state, group)
        deploy = [str(tools.onebox), "deploy", str(site), "--name", "flask"]
        subprocess.run(deploy, env={**os.environ, **env}, check=True, capture_output=True, timeout=300)
        url = f"http://127.0.0.1:{port}{FLASK.path}"
        first_answer_s(group, port, FLASK.path, time.monotonic())
        settle(group)
        put_under_load(group, url, load)
        for number in range(TURNS):
            # Each round begins with the other one.
            for is_watched in (False, True) if number % 2 == 0 else (True, False):
                seen_by = Dashboards(state / "run" / "control.sock") if is_watched else contextlib.nullcontext()
                with seen_by:
                    p99_ms = put_under_load(group, url, load).p99_ms
                (result.watched_p99_ms if is_watched else result.alone_p99_ms).append(p99_ms)
    return result


class Dashboards:
    """So many streams of events as dashboards have them open, each read as it comes. Over the control socket, where nobody logs in."""

    def __init__(self, control_socket: Path) -> None:
        self._streams = [_open(control_socket) for _ in range(DASHBOARDS)]
        self._seen = [0] * DASHBOARDS
        self._threads = [threading.Thread(target=self._read, args=(number,)) for number in range(DASHBOARDS)]

    def __enter__(self) -> Dashboards:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for stream in self._streams:
            stream.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for stream in self._streams:
            stream.close()
        if kind is None and not all(self._seen):
            raise RuntimeError(f"not every dashboard saw a sample: {self._seen}")

    def _read(self, number: int) -> None:
        while piece := self._streams[number].recv(1 << 16):
            self._seen[number] += piece.count(SAMPLE)


def _open(control_socket: Path) -> socket.socket:
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(str(control_socket))
    stream.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return stream
