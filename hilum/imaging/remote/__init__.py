"""Remote archives: what a source's DICOMweb server has is known here, and fetched when it is wanted."""
