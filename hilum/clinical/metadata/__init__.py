"""Tables of what files say of their studies and series, to be queried without loading DICOM."""
