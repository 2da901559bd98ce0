"""The OMOP CDM of a source: created or attached, its vocabulary, its image tables, and what Hilum keeps beside it."""

from hilum.clinical.cdm import models

__all__ = ["models"]
