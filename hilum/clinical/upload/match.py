"""Which row of an upload's registry belongs to which file, and which instance of the archive a file is: both lists go
into tables of the transaction and are matched there, a statement a rule, so that an upload may have any size."""

import os
from typing import Final, LiteralString

from hilum.clinical.chorus import Folder
from hilum.clinical.upload.folder import Upload, is_person
from hilum.clinical.upload.rows import RefusedRow, RegistryFile
from hilum.core.database import Transaction
from hilum.imaging.dicom.header import NotDicom, Unreadable, scan_file
from hilum.imaging.intake.walk import walk

_AT_ONCE: Final = 2000


def stage_files(sql: Transaction, source_id: int, upload: Upload) -> int:
    """List the files of an upload in ``upload_file``, with the instance that each was imported as; gives how many."""
    sql.rows(_FILES)
    count = 0
    copy: LiteralString = "copy upload_file (path, person_id, modality, accession, series, name, mark) from stdin"
    with sql.driver.cursor().copy(copy) as into:
        for found in walk(upload.images, upload.root):
            path = os.path.relpath(found.path, upload.root)
            folder = None if found.trouble or not path.isprintable() else Folder.of(path)
            if folder is None or not is_person(folder.person_id):
                continue
            name = path.rpartition("/")[2]
            marks = (folder.modality, folder.accession, folder.series, name, found.fingerprint)
            into.write_row((path, int(folder.person_id), *marks))
            count += 1
    sql.rows(_INSTANCES, (source_id,))
    _read_others(sql, source_id, upload)
    sql.rows("create index on upload_file (sop); create index on upload_file (person_id, name); analyze upload_file")
    return count


def _read_others(sql: Transaction, source_id: int, upload: Upload) -> None:
    """Files that are no instance's own: copies of another file, or none that could be taken; told by their header."""
    after = ""
    while True:
        rows = sql.rows(_OTHERS, (after, _AT_ONCE))
        if not rows:
            return
        after = str(rows[-1]["path"])
        read = {str(row["path"]): _sop(upload, str(row["path"])) for row in rows}
        known = {path: sop for path, sop in read.items() if sop}
        sql.rows(_COPIES, {"paths": list(known), "sops": list(known.values()), "source": source_id})


def _sop(upload: Upload, path: str) -> str:
    try:
        with (upload.root / path).open("rb") as file:
            return scan_file(file).first("SOPInstanceUID")
    except (NotDicom, Unreadable, OSError):
        return ""


def stage_rows(sql: Transaction, registry: RegistryFile | None) -> int:
    """List the rows of a registry in ``upload_row``, those that cannot be used in ``upload_refused``; gives how many
    there are."""
    sql.rows(_ROWS)
    refused: list[RefusedRow] = []
    count = 0

    def write_refused() -> None:
        values = {"lines": [one.line for one in refused], "reasons": [one.reason for one in refused]}
        sql.rows("insert into upload_refused select * from unnest(%(lines)s::int[], %(reasons)s::text[])", values)
        refused.clear()

    rows = registry.rows() if registry else iter(())
    more = True
    while more:
        copy: LiteralString = (
            "copy upload_row (line, file_id, proc_id, person_id, visit_id, moment, src_file, at_trg, at_src, at_file) "
            "from stdin"
        )
        with sql.driver.cursor().copy(copy) as into:
            more = False
            for row in rows:
                count += 1
                if isinstance(row, RefusedRow):
                    refused.append(row)
                    if len(refused) >= _AT_ONCE:
                        more = True
                        break
                    continue
                said = (row.line, row.file_id, row.proc_id, row.person_id, row.visit_id, row.moment, row.src_file)
                into.write_row((*said, *row.places))
        write_refused()
    sql.rows("analyze upload_row")
    return count


def match_rows(sql: Transaction) -> None:
    """Find the file of each row: by the path that it names, by SOP Instance UID, by a name that only one file of the
    person has. Of several rows for one file the first holds."""
    for column in ("at_trg", "at_src", "at_file"):
        sql.rows(_BY_PATH.replace("<COLUMN>", column))
    sql.rows(_BY_UID)
    sql.rows(_BY_NAME)
    sql.rows(_TWICE)
    sql.rows("create index on upload_row (path); analyze upload_row")


_FILES: Final[LiteralString] = """
  create temporary table upload_file (path text primary key, person_id bigint, modality text, accession text,
    series text, name text, mark uuid, instance_id bigint, sop text) on commit drop
"""
_INSTANCES: Final[LiteralString] = """
  update upload_file f set instance_id = i.id, sop = i.sop_instance_uid from hilum.instance i
  where i.fingerprint = f.mark and i.source_id = %s and i.deleted_at is null
"""
_OTHERS: Final[LiteralString] = (
    "select path from upload_file where instance_id is null and path > %s order by path limit %s"
)
_COPIES: Final[LiteralString] = """
  update upload_file f set instance_id = i.id, sop = i.sop_instance_uid
  from unnest(%(paths)s::text[], %(sops)s::text[]) g (path, sop)
  join hilum.instance i on i.sop_instance_uid = g.sop and i.source_id = %(source)s and i.deleted_at is null
  where f.path = g.path
"""
_ROWS: Final[LiteralString] = """
  create temporary table upload_row (line bigint primary key, file_id text, proc_id bigint, person_id bigint,
    visit_id bigint, moment timestamp, src_file text, at_trg text, at_src text, at_file text, path text,
    twice boolean default false) on commit drop;
  create temporary table upload_refused (line bigint, reason text) on commit drop
"""
_BY_PATH: Final[LiteralString] = """
  update upload_row r set path = f.path from upload_file f where r.path is null and f.path = r.<COLUMN>
"""
_BY_UID: Final[LiteralString] = """
  update upload_row r set path = f.path
  from (select sop, min(path) as path from upload_file where sop is not null group by sop) f
  where r.path is null and f.sop = r.file_id
"""
_BY_NAME: Final[LiteralString] = """
  with named as (
    select person_id, name, min(path) as path from upload_file group by person_id, name having count(*) = 1
  ), meant as (
    select r.person_id, r.file_id, min(r.line) as line from upload_row r where r.path is null
    group by r.person_id, r.file_id having count(*) = 1
  )
  update upload_row r set path = n.path from meant m join named n on n.person_id = m.person_id and n.name = m.file_id
  where r.line = m.line
"""
_TWICE: Final[LiteralString] = """
  update upload_row r set twice = true, path = null
  from (select line, row_number() over (partition by path order by line) as place from upload_row
    where path is not null) d
  where d.line = r.line and d.place > 1
"""
