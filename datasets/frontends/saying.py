"""What an error about a file says: one line of text, of bounded length, that names the file, whatever the file holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import SilicastError

#: characters of a message that are kept, at the start and at the end
_HEAD, _TAIL = 1400, 500


@contextmanager
def saying(file: str | Path | None = None) -> Iterator[None]:
    """Errors of silicast that leave the block are one printable line of at most two thousand characters; one that does not name `file` begins with it."""
    try:
        yield
    except SilicastError as error:
        text = str(error)
        if file is not None and str(file) not in text:
            text = f"{file}: {text}"
        if not text.isprintable():  # names of a damaged file, quoted as Python would
            text = "".join(c if c.isprintable() else " " if c.isspace() else ascii(c)[1:-1] for c in text)
        error.args = (text if len(text) <= _HEAD + _TAIL else f"{text[:_HEAD]} ... {text[-_TAIL:]}",)
        raise
