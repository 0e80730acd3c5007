"""The workloads, who serves them, and what is aimed at."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.load import Load, Over
from bench.servers import (
    ALIKE,
    CACHE,
    EMBEDDED,
    GRANIAN,
    ISOLATED,
    NGINX,
    NGINX_CACHE,
    NGINX_UWSGI,
    ONEBOX,
    RULED,
    Server,
    Tools,
)

PYTHON_SERVERS = (NGINX_UWSGI, GRANIAN, EMBEDDED, ISOLATED)
FILE_SERVERS = (NGINX, ONEBOX)


@dataclass(frozen=True)
class Target:
    """At most so many times the CPU time a request of another server."""

    server: Server
    peer: Server
    ratio: float


@dataclass(frozen=True)
class Workload:
    """One table. The first of its servers is the one that the others are compared with."""

    name: str
    site: str
    path: str
    servers: tuple[Server, ...] = PYTHON_SERVERS
    body_bytes: int = 0
    accept_encoding: str = ""
    over: Over = Over.PLAIN
    connections: int = 0
    """At the same time; 0: as many as the whole run."""
    targets: tuple[Target, ...] = ()
    prepare: Callable[[Tools, Path], None] | None = None
    """Makes what the site's copy needs and the repository does not hold."""

    def shape(self, load: Load) -> Load:
        """What this one is asked for, with the connections and the time of the whole run."""
        return replace(
            load,
            body_bytes=self.body_bytes,
            accept_encoding=self.accept_encoding,
            over=self.over,
            connections=self.connections or load.connections,
        )


def make_files(_: Tools, site: Path) -> None:
    static = site / "static"
    static.mkdir()
    (static / "1k.css").write_bytes(b"/* a kilobyte */\n".ljust(1 << 10, b"."))
    (static / "1m.bin").write_bytes(bytes(range(256)) * (1 << 12))
    words = "".join(f".entry-{number} {{ margin: {number % 7}px; color: #{number * 2654435761 % (1 << 24):06x}; }}\n" for number in range(4000))
    (static / "100k.css").write_text(words[: 100 << 10])
    with (static / "100m.bin").open("wb") as large:
        large.truncate(100 << 20)


def make_database(tools: Tools, site: Path) -> None:
    subprocess.run([tools.program("python"), "app.py"], cwd=site, check=True)


def of_file(name: str, file: str, ratio: float | None, **more: Any) -> Workload:
    """A file beside nginx, which onebox may take `ratio` times the CPU time of, where that is aimed at."""
    return Workload(
        name,
        "hello",
        f"/static/{file}",
        servers=FILE_SERVERS,
        targets=(Target(ONEBOX, NGINX, ratio),) if ratio else (),
        prepare=make_files,
        **more,
    )


WORKLOADS = (
    Workload("Hello, WSGI", "hello", "/", targets=(Target(EMBEDDED, NGINX_UWSGI, 0.45),)),
    Workload(
        "Flask, JSON",
        "flask_json",
        "/api/items/7?q=bench",
        servers=(*PYTHON_SERVERS, ALIKE),
        targets=(Target(EMBEDDED, NGINX_UWSGI, 0.85), Target(ALIKE, EMBEDDED, 1.25), Target(ISOLATED, EMBEDDED, 1.25)),
    ),
    Workload("Django, SQLite", "django_sqlite", "/entries/?before=101", prepare=make_database),
    of_file("Static file, 1 KB", "1k.css", 1.0),
    of_file("Static file, 100 KB, compressed", "100k.css", 0.1, accept_encoding="gzip"),
    of_file("Static file, 1 MB", "1m.bin", 1.0),
    of_file("Static file, 100 MB", "100m.bin", 1.0, connections=2),
    of_file("Static file, 1 KB, TLS", "1k.css", 1.0, over=Over.TLS),
    of_file("Static file, 1 KB, HTTP/2 with TLS", "1k.css", None, over=Over.HTTP2),
    of_file("Full handshakes, TLS 1.3", "1k.css", 0.7, over=Over.HANDSHAKES_1_3),
    of_file("Full handshakes, TLS 1.2", "1k.css", 0.7, over=Over.HANDSHAKES_1_2),
    Workload("Stored answer", "hello", "/", servers=(NGINX_CACHE, CACHE), targets=(Target(CACHE, NGINX_CACHE, 0.95),)),
    Workload(
        "Static file, 1 KB, by rules",
        "hello",
        "/static/1k.css",
        servers=(ONEBOX, RULED),
        targets=(Target(RULED, ONEBOX, 1.03),),
        prepare=make_files,
    ),
    Workload("POST, 1 MB", "upload", "/", body_bytes=1 << 20),
)
