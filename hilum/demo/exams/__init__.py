"""Examinations: from a study of the story to its series, headers and pixels, as the machines of a hospital would give
them. Writing the files is left to ``hilum.demo.dicom_writer``."""
