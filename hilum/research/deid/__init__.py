"""De-identification by PS3.15 Annex E. ``table`` and ``profile`` say what becomes of each attribute, ``engine``
does it to a data set, ``instance`` to a file, ``verify`` looks at the result anew, ``run`` does a folder. Nothing
here needs a server or a database; what publishes data sets calls ``instance`` and ``verify``."""
