"""What a lower room asks for without knowing who does it: each plug is a name and where its maker is, loaded when it is
first needed, in whichever process that is. So imports still point down."""

from functools import cache
from importlib import import_module
from typing import Final

PLUGS: Final = {"intake": "hilum.research.intake:open_intake"}
"""Makers by the name of their plug, as module:function. ``intake``: given the archive, what de-identifies instances on
their way in (`hilum.imaging.archive.intake.Intake`)."""


@cache
def plugged(name: str) -> object:
    """The maker that is plugged in under a name."""
    module, _, function = PLUGS[name].partition(":")
    return getattr(import_module(module), function)
