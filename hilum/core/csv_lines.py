"""The lines of a CSV that somebody gave, for ``csv.reader``: UTF-8 with or without a byte order mark, and none so long
that it would fill the memory."""

import io
from collections.abc import Iterator
from typing import BinaryIO, Final

from hilum.core.errors import Invalid

MAX_LINE: Final = 64 << 10


def csv_lines(file: BinaryIO, name: str) -> Iterator[str]:
    """Read lines, one at a time.

    Parameters
    ----------
    file
        Left open.
    name
        What to call it in errors, at the beginning of a sentence.

    Raises
    ------
    Invalid
        A line has more than 64 Ki characters, or a NUL.
    UnicodeDecodeError
        It is not UTF-8.
    """
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        while line := text.readline(MAX_LINE):
            if len(line) >= MAX_LINE:
                raise Invalid(f"{name} is no CSV: a line has more than {MAX_LINE} characters.")
            if "\0" in line:
                raise Invalid(f"{name} is no CSV: it holds a NUL character.")
            yield line
    finally:
        if not file.closed:
            text.detach()
