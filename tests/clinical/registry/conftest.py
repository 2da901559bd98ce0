"""The hospital of the linkage's tests, for the tables that go with its images."""

from tests.clinical.cdm.conftest import cdm_database, site

__all__ = ["cdm_database", "site"]
