"""What the application prints: as it always was, and noted for the request that the thread serves."""

import io
import sys


class Noted(io.TextIOWrapper):
    """A text stream that notes what it writes."""

    def write(self, text):
        written = super().write(text)
        self.note(text)
        return written


def install(note):
    """To be called before the application is there, which may keep the streams."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        # A process without these descriptors has None here.
        if type(stream) is not io.TextIOWrapper:
            continue
        stream.flush()
        mode, encoding, errors = stream.mode, stream.encoding, stream.errors
        noted = Noted(stream.detach(), encoding=encoding, errors=errors, line_buffering=True)
        noted.mode, noted.note = mode, note
        setattr(sys, name, noted)
        setattr(sys, "__" + name + "__", noted)
