"""The store of features, which is the truth: each with its values, codes and provenance, the finding it belongs to, how
many a study has, and which rows of the CDM it is. The CDM's own tables are written by ``rows``."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from hilum.core import tables
from hilum.core.database import Table
from hilum.core.tables import BIG, TEXT


class FeatureFinding(Table):
    """What several features of one study are said of, such as one nodule: known by a ``key`` that its extractor gives
    it every time, so that ``image_finding_id`` (its number in the CDM, null until it is there) stays."""

    __tablename__ = "feature_finding"
    __table_args__ = (sa.UniqueConstraint("source_id", "study_instance_uid", "key"),)

    id: Mapped[int] = tables.key()
    source_id: Mapped[int] = tables.owner("source")
    study_instance_uid: Mapped[str] = mapped_column(TEXT)
    key: Mapped[str] = mapped_column(TEXT)
    name: Mapped[str] = tables.text()
    code: Mapped[str] = tables.text()
    concept_id: Mapped[int | None] = mapped_column(BIG)
    image_finding_id: Mapped[int | None] = mapped_column(BIG)


class Feature(Table):
    """A feature of a study. ``extractor`` and ``extractor_version`` say what wrote it and tell versions apart, ``key``
    which feature of that extractor it is, ``digest`` what the extractor said, before anybody ``corrected`` it. A code
    is ``scheme|value``; with one, the concept beside it is looked up in the vocabulary, else it is as it was given."""

    __tablename__ = "feature"
    __table_args__ = (
        sa.UniqueConstraint("study_id", "extractor", "extractor_version", "key"),
        sa.Index("feature_name", "feature_type", "feature_name"),
        sa.Index("feature_concept", "concept_id", postgresql_where=sa.text("concept_id is not null")),
    )

    id: Mapped[int] = tables.key()
    study_id: Mapped[int] = tables.owner("study")
    series_uid: Mapped[str] = tables.text()
    extractor: Mapped[str] = tables.text()
    extractor_version: Mapped[str] = tables.text()
    key: Mapped[str] = mapped_column(TEXT)
    digest: Mapped[str] = tables.text()
    feature_type: Mapped[str] = mapped_column(TEXT)
    feature_name: Mapped[str] = mapped_column(TEXT)
    code: Mapped[str] = tables.text()
    concept_id: Mapped[int | None] = mapped_column(BIG)
    algorithm: Mapped[str] = tables.text()
    algorithm_version: Mapped[str] = tables.text()
    alg_system: Mapped[str] = tables.text()
    algorithm_time: Mapped[datetime] = tables.now()
    value_numeric: Mapped[float | None] = mapped_column(sa.Double)
    value_string: Mapped[str] = tables.text()
    value_code: Mapped[str] = tables.text()
    value_concept_id: Mapped[int | None] = mapped_column(BIG)
    unit: Mapped[str] = tables.text()
    unit_concept_id: Mapped[int | None] = mapped_column(BIG)
    body_site: Mapped[str] = tables.text()
    body_site_code: Mapped[str] = tables.text()
    body_site_concept_id: Mapped[int | None] = mapped_column(BIG)
    laterality: Mapped[str] = tables.text()
    assertion: Mapped[str] = tables.text()
    confidence: Mapped[float | None] = mapped_column(sa.Double)
    finding_id: Mapped[int | None] = mapped_column(
        BIG, sa.ForeignKey("hilum.feature_finding.id", ondelete="SET NULL"), index=True
    )
    provenance: Mapped[dict[str, object]] = mapped_column(JSONB, server_default="{}")
    superseded: Mapped[bool] = tables.no()
    corrected: Mapped[bool] = tables.no()
    created_at: Mapped[datetime] = tables.now()
    updated_at: Mapped[datetime] = tables.now()


class FeatureCount(Table):
    """How many features of each type a study has, without superseded ones."""

    __tablename__ = "feature_count"

    study_id: Mapped[int] = tables.owner("study", primary_key=True)
    feature_type: Mapped[str] = mapped_column(TEXT, primary_key=True)
    features: Mapped[int] = tables.count()


class FeatureRow(Table):
    """Which rows of the CDM a feature is, for as long as it is in the store, whether they are there now
    (``written``) or not. It outlives the feature until its rows are taken out."""

    __tablename__ = "feature_row"
    __table_args__ = (sa.Index("feature_row_study", "source_id", "study_instance_uid"),)

    feature_id: Mapped[int] = mapped_column(BIG, primary_key=True, autoincrement=False)
    source_id: Mapped[int] = tables.owner("source")
    study_instance_uid: Mapped[str] = mapped_column(TEXT)
    image_feature_id: Mapped[int] = mapped_column(BIG)
    row_table: Mapped[str] = mapped_column(TEXT)
    row_id: Mapped[int] = mapped_column(BIG)
    written: Mapped[bool] = tables.no()
