"""Imaging features: what is measured, found or read in images, who or what said so, and the rows of the CDM."""

from hilum.clinical.features import models

__all__ = ["models"]
