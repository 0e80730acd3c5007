"""Django with a database: a page of twenty rows by its mapper, as JSON."""

from pathlib import Path

import django
from django.conf import settings

settings.configure(
    ROOT_URLCONF="urls",
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    SECRET_KEY="of no use: nothing is signed",
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["entries"],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": Path(__file__).with_name("entries.sqlite3"),
            "CONN_MAX_AGE": None,
        }
    },
)
django.setup()

from django.core.handlers.wsgi import WSGIHandler  # noqa: E402, Django has to be set up before

application = WSGIHandler()


def make_database():
    """Run once before the site is served."""
    from django.db import connection
    from entries.models import Entry

    with connection.schema_editor() as editor:
        editor.create_model(Entry)
    Entry.objects.bulk_create(Entry(title=f"Entry {n}", text="text " * n) for n in range(200))


if __name__ == "__main__":
    make_database()
