"""Exceptions that a framework answers itself: it tells of them by a signal before it makes its error page."""

import sys

SIGNALS = ("django.core.signals", "flask.signals")


def install(failed):
    """To be called when the application is there, and with it its framework."""

    def receive(sender, **details):
        error = details.get("exception") or sys.exc_info()[1]
        if error is not None:
            failed(error)

    for name in SIGNALS:
        signal = getattr(sys.modules.get(name), "got_request_exception", None)
        if signal is None:
            continue
        try:
            signal.connect(receive, weak=False)
        except RuntimeError:
            # An old Flask without blinker has signals that nobody can listen to.
            pass
