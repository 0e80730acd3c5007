"""The servers, each as its users would set it up: two processes with four threads, or eight threads where there is one.

Access logs of the others are off; onebox writes its own, as it always does.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from subprocess import run

PROCESSES = 2
THREADS = 4
ROOM = 1024
"""So many connections each server has room for as it is set up."""
SPARE = 100
"""Connections and descriptors beyond those that are counted on."""
RULES = 1000
"""Networks in a long list."""
PATIENCE = "10m"
"""How long connections may be idle: longer than thousands take to open."""


@dataclass(frozen=True)
class Tools:
    """Where the programs are."""

    onebox: Path
    venv: Path

    @property
    def nginx(self) -> str:
        """Debian keeps it where a user's PATH does not look."""
        return shutil.which("nginx") or "/usr/sbin/nginx"

    def program(self, name: str) -> str:
        """A program of the virtual environment."""
        return str(self.venv / "bin" / name)


@dataclass(frozen=True)
class Place:
    """Where one server serves one site."""

    site: Path
    """The site's folder: `app.py` with `application`, `static/` for what needs no Python."""
    folder: Path
    """For configuration, sockets and logs."""
    port: int
    certificate: tuple[Path, Path] | None = None
    """The chain and its key, where the port speaks TLS."""
    connections: int = 0
    """At most so many at the same time; 0: a few."""


@dataclass(frozen=True)
class Server:
    """One column of the tables."""

    name: str
    commands: Callable[[Tools, Place], list[list[str]]]
    """Writes what configuration is needed; the commands to start."""


def nginx(tools: Tools, place: Place) -> list[list[str]]:
    return _nginx(tools, place, "return 404;")


def nginx_uwsgi(tools: Tools, place: Place, more: str = "", http: str = "") -> list[list[str]]:
    socket = place.folder / "uwsgi.sock"
    uwsgi = [tools.program("uwsgi"), "--master", "--die-on-term", "--need-app", "--disable-logging"]
    uwsgi += ["--socket", str(socket), "--chmod-socket=666"]
    uwsgi += ["--processes", str(PROCESSES), "--threads", str(THREADS)]
    uwsgi += ["--virtualenv", str(tools.venv), "--chdir", str(place.site)]
    uwsgi += ["--module", "app:application"]
    forward = f"include /etc/nginx/uwsgi_params; uwsgi_pass unix:{socket}; {more}"
    return [uwsgi, *_nginx(tools, place, forward, http)]


def nginx_uwsgi_cache(tools: Tools, place: Place) -> list[list[str]]:
    cache = f"uwsgi_cache_path {place.folder}/cache levels=1:2 keys_zone=answers:8m;"
    return nginx_uwsgi(tools, place, "uwsgi_cache answers; uwsgi_cache_key $scheme$host$request_uri; uwsgi_cache_valid 10m;", cache)


def granian(tools: Tools, place: Place) -> list[list[str]]:
    command = [tools.program("granian"), "--interface", "wsgi", "--no-ws"]
    command += ["--host", "127.0.0.1", "--port", str(place.port)]
    command += ["--workers", str(PROCESSES), "--blocking-threads", str(THREADS)]
    return [[*command, "--working-dir", str(place.site), "app:application"]]


def onebox_embedded(tools: Tools, place: Place) -> list[list[str]]:
    return _onebox(tools, place, f"threads = {PROCESSES * THREADS}\n")


def onebox_cache(tools: Tools, place: Place) -> list[list[str]]:
    return _onebox(tools, place, 'cache = "10m"\n')


def onebox_ruled(tools: Tools, place: Place) -> list[list[str]]:
    """A thousand networks that are denied, and a limit that nobody reaches."""
    networks = ", ".join(f'"10.{number >> 8}.{number & 255}.{number % 64 * 4}/31"' for number in range(RULES))
    return _onebox(tools, place, f'deny = [{networks}]\nlimit = {{ rate = "1000000/s" }}\n')


def onebox_isolated(tools: Tools, place: Place) -> list[list[str]]:
    return _onebox(tools, place, f"processes = {PROCESSES}\nthreads = {THREADS}\n")


def onebox_alike(tools: Tools, place: Place) -> list[list[str]]:
    """As the embedded one, but for the isolation."""
    return _onebox(tools, place, f'isolation = "process"\nthreads = {PROCESSES * THREADS}\n')


def onebox_single(tools: Tools, place: Place) -> list[list[str]]:
    return _onebox(tools, place, f'isolation = "process"\nthreads = {THREADS}\n')


def onebox_auto(tools: Tools, place: Place) -> list[list[str]]:
    return _onebox(tools, place, f'processes = "auto"\nthreads = {THREADS}\n')


NGINX = Server("nginx", nginx)
NGINX_UWSGI = Server("nginx + uWSGI", nginx_uwsgi)
GRANIAN = Server("Granian", granian)
EMBEDDED = Server("onebox, embedded", onebox_embedded)
ISOLATED = Server("onebox, isolated", onebox_isolated)
ALIKE = Server("onebox, isolated, one process", onebox_alike)
SINGLE = Server("onebox, one process", onebox_single)
AUTO = Server("onebox, automatic", onebox_auto)
ONEBOX = Server("onebox", onebox_embedded)
NGINX_CACHE = Server("nginx + uWSGI, uwsgi_cache", nginx_uwsgi_cache)
CACHE = Server("onebox, cache", onebox_cache)
RULED = Server(f"onebox, {RULES:,} rules", onebox_ruled)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """For 127.0.0.1, with a key as ACME's clients make them: the chain and the key."""
    chain, key = folder / "certificate.pem", folder / "key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    made += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    run([*made, "-keyout", str(key), "-out", str(chain)], check=True, capture_output=True)
    return chain, key


def _onebox(tools: Tools, place: Place, settings: str) -> list[list[str]]:
    config = place.folder / "onebox.toml"
    static = '[static]\n"/static" = "static"\n' if (place.site / "static").is_dir() else ""
    tls, listen = "", ["--http"]
    if place.certificate:
        tls, listen = '[tls]\ncertificate = "{}"\nkey = "{}"\n'.format(*place.certificate), ["--http", "127.0.0.1:0", "--https"]
    if place.connections > ROOM:
        most = place.connections + SPARE
        limits = f"[limits]\nmax-connections = {most}\nmax-connections-per-client = {most}\n"
        (place.folder / "box.toml").write_text(f'{limits}idle-timeout = "{PATIENCE}"\n')
    config.write_text(f'name = "bench"\nmodule = "app:application"\n{settings}{static}{tls}')
    command = [str(tools.onebox), "run", str(place.site), "--config", str(config)]
    command += ["--python", str(tools.venv), *listen, f"127.0.0.1:{place.port}"]
    return [[*command, "--state-dir", str(place.folder), "--config-dir", str(place.folder)]]


def _nginx(tools: Tools, place: Place, application: str, http: str = "") -> list[list[str]]:
    folder = place.folder
    # As root its workers would become a user who can't read the folders of this run.
    user = "user root;" if os.geteuid() == 0 else ""
    paths = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    tls = ""
    if place.certificate:
        # Of itself this version has TLS 1.3 only where it is named.
        tls = "ssl http2; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {}; ssl_certificate_key {}".format(*place.certificate)
    connections = max(ROOM, place.connections + SPARE)
    config = folder / "nginx.conf"
    config.write_text(
        f"""daemon off; {user} pid {folder}/nginx.pid; error_log {folder}/nginx.log;
worker_processes auto; worker_rlimit_nofile {connections + SPARE};
events {{ worker_connections {connections}; }}
http {{
  include /etc/nginx/mime.types; {paths} {http}
  access_log off; gzip on; gzip_types text/css; sendfile on; tcp_nopush on; keepalive_requests 1000000; keepalive_timeout {PATIENCE}; client_max_body_size 100m;
  server {{
    listen 127.0.0.1:{place.port} {tls};
    location /static/ {{ root {place.site}; }}
    location / {{ {application} }}
  }}
}}
"""
    )
    return [[tools.nginx, "-p", str(folder), "-c", str(config), "-e", f"{folder}/nginx.log"]]
