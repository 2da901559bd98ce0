"""The archive wing: DICOM in, catalogued, found and given out. It is complete without the wings above it."""
