"""Processes of our own and what they have used, read from /proc."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Group:
    """Commands that serve together, with everything they start. Ends them at the end of its block."""

    def __init__(self, commands: list[list[str]], env: dict[str, str], log: Path) -> None:
        self._log = log
        self._leaders: list[subprocess.Popen[bytes]] = []
        try:
            for command in commands:
                self._leaders.append(self._start(command, env))
        except OSError:
            self.stop()
            raise

    def _start(self, command: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **env},
                start_new_session=True,
            )

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Asks all to end, and ends those that do not."""
        for leader in self._leaders:
            leader.terminate()
        for leader in self._leaders:
            try:
                leader.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(leader.pid, signal.SIGKILL)
                leader.wait()

    def check(self) -> None:
        """Fails where one has ended by itself."""
        for leader in self._leaders:
            if leader.poll() is not None:
                raise RuntimeError(f"{leader.args!r} ended with {leader.returncode}:\n{self.log()}")

    def log(self) -> str:
        """The end of what they wrote."""
        return self._log.read_text(errors="replace")[-4000:]

    def cpu_s(self) -> float:
        """Seconds of CPU that they have used, with those of their children that have ended."""
        return sum(_cpu_s(pid) for pid in self._family())

    def pss_bytes(self) -> int:
        """Their memory, what they share counted in parts."""
        return sum(_pss_bytes(pid) for pid in self._family())

    def size(self) -> int:
        """How many processes there are."""
        return len(self._family())

    def _family(self) -> list[int]:
        found: list[int] = []
        ahead = [leader.pid for leader in self._leaders]
        while ahead:
            pid = ahead.pop()
            found.append(pid)
            ahead.extend(_children(pid))
        return found


def _children(pid: int) -> list[int]:
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in lists for child in _read(path).split()]


def _cpu_s(pid: int) -> float:
    # Fields 14 to 17; the name of the command in front, in parentheses, may hold anything.
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS_PER_S


def _pss_bytes(pid: int) -> int:
    for line in _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        # It has ended meanwhile.
        return ""


def settle(group: Group, quiet_s: float = 1.0, limit_s: float = 20.0) -> None:
    """Waits until the processes have done next to nothing for a while."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        before = group.cpu_s()
        time.sleep(quiet_s)
        if group.cpu_s() - before < 0.02 * quiet_s:
            return
