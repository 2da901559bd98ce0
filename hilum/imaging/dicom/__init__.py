"""Pure DICOM: headers, identifiers, names and dates, DICOM JSON, frames and pixels. No database and no network here;
storing, cataloguing and serving are done by the rooms that stand on this one."""

import logging
import warnings

# What pydicom tells about a file may quote its values, which can be a patient's: nothing of it may reach a log.
warnings.filterwarnings("ignore", module=r"pydicom\b")
_logger = logging.getLogger("pydicom")
_logger.addHandler(logging.NullHandler())
_logger.propagate = False
