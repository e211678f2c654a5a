"""The file that a job keeps of its rows (`export_format`)."""

from __future__ import annotations

from shared.pipeline.formats import CONTENT_TYPES, Format, writer
from shared.pipeline.freezing import FrozenSource
from shared.pipeline.lease import Lease
from shared.ports import Objects


def keep_file(held: Lease, source: FrozenSource, objects: Objects, bucket: str, batch_rows: int) -> None:
    """Write the rows as a file of `export_format`, once, while the target is still as it was: a format may refuse a value."""
    wanted = held.job.get("export_format")
    if not wanted or held.job.get("export_uri"):
        return
    name = f"{held.job['table_name']}/{held.job['id']}.{wanted}"
    batches = (batch for table in source.tables(0, batch_rows) for batch in table.to_batches())
    with objects.writer(bucket, name, content_type=CONTENT_TYPES[Format(wanted)]) as sink:
        size = writer(Format(wanted)).write(source.scan.schema, batches, sink)
    held.save({"export_uri": f"gs://{bucket}/{name}", "file_size_bytes": size, "idle_claims": 0})
