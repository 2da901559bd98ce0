"""Which attributes the files of a folder or a source have, how often, and with how many values."""
