"""pydicom, set up as Hilum needs it. Whoever reads or writes whole files with it takes it from here; it is a large
library, so what runs at every start of a command imports neither it nor this."""

import pydicom
from pydicom import config

__all__ = ["pydicom"]

config.settings.reading_validation_mode = config.IGNORE
