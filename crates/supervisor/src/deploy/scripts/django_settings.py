"""Prints what a server needs to know of a Django project's settings, as JSON behind a marker."""
import json, os, sys

from django.conf import settings


def get(name, default=None):
    return getattr(settings, name, default)


def absolute(path):
    return os.path.abspath(os.fspath(path)) if path else None


def url(name):
    """A URL prefix; Django turns an empty one into "/", which stands for none."""
    value = get(name)
    return str(value) if value and str(value) != "/" else None


def static_sources():
    """Where the apps and the project itself keep static files; importing apps may fail where settings did not."""
    folders = [entry[1] if isinstance(entry, (list, tuple)) else entry for entry in get("STATICFILES_DIRS") or []]
    try:
        import django
        from django.apps import apps

        django.setup()
        folders += [os.path.join(app.path, "static") for app in apps.get_app_configs()]
    except Exception:
        pass
    return [absolute(folder) for folder in folders if os.path.isdir(folder)]


databases = (get("DATABASES") or {}).values()
engines = [(str(d.get("ENGINE") or ""), d.get("NAME")) for d in databases]
files = [os.fspath(name) for engine, name in engines if "sqlite" in engine and name]
apps = [str(app) for app in get("INSTALLED_APPS") or []]

answer = {
    "debug": bool(get("DEBUG", False)),
    "allowed_hosts": [str(host) for host in get("ALLOWED_HOSTS") or []],
    "static_url": url("STATIC_URL"),
    "static_root": absolute(get("STATIC_ROOT")),
    "media_url": url("MEDIA_URL"),
    "media_root": absolute(get("MEDIA_ROOT")),
    "sqlite": [absolute(name) for name in files if name != ":memory:" and not name.startswith("file:")],
    "has_database": any(engine and not engine.endswith(".dummy") for engine, _ in engines),
    "has_staticfiles": any(app.startswith("django.contrib.staticfiles") for app in apps),
    "static_sources": static_sources() if "--sources" in sys.argv else [],
}
sys.stdout.flush()
print("\nonebox-django-settings:" + json.dumps(answer), flush=True)
