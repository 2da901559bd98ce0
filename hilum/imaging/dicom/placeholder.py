"""A neutral picture in the place of one that cannot be made: a dark square with a few words that say why."""

from typing import Final

import numpy as np

from hilum.imaging.dicom.picture import Picture

_GROUND: Final = 38
_INK: Final = 150
_HIGH: Final = 5
# Capital letters and figures on a grid of three by five, a row after the other; a figure of the sum is a dot.
_SHAPES: Final = {
    "A": "25755", "B": "65656", "C": "34443", "D": "65556", "E": "74647", "F": "74644", "G": "34553", "H": "55755",
    "I": "72227", "J": "11152", "K": "55655", "L": "44447", "M": "57755", "N": "65555", "O": "25552", "P": "65644",
    "Q": "25573", "R": "65655", "S": "34216", "T": "72222", "U": "55557", "V": "55552", "W": "55775", "X": "55255",
    "Y": "55222", "Z": "71247", "0": "75557", "1": "26227", "2": "61247", "3": "61216", "4": "55711", "5": "74616",
    "6": "34657", "7": "71122", "8": "75757", "9": "75716", "-": "00700", ".": "00002",
}  # fmt: skip


def placeholder(lines: tuple[str, ...], size: int) -> Picture:
    """A square of ``size`` pixels with lines of text in its middle, each at most some sixteen letters long.

    What is no letter, figure, hyphen or point is left blank.
    """
    picture = np.full((size, size), _GROUND, np.uint8)
    letters = max((len(line) for line in lines), default=1)
    dot = max(1, min(size // 64, size // (4 * letters + 4)))
    top = (size - dot * (_HIGH + 3) * len(lines)) // 2
    for number, line in enumerate(lines):
        _write(picture, line.upper(), top + number * dot * (_HIGH + 3), dot)
    return picture


def _write(picture: Picture, line: str, top: int, dot: int) -> None:
    left = (picture.shape[1] - dot * (4 * len(line) - 1)) // 2
    for place, letter in enumerate(line):
        for row, bits in enumerate(_SHAPES.get(letter, "00000")):
            for column in range(3):
                if int(bits) >> (2 - column) & 1:
                    y, x = top + row * dot, left + (4 * place + column) * dot
                    picture[max(0, y) : y + dot, max(0, x) : x + dot] = _INK
