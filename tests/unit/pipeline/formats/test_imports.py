"""What importing costs: the registry nothing heavy, reading no pandas."""

from __future__ import annotations

import subprocess
import sys

import pyarrow as pa
import pytest

from shared.pipeline.formats import Format
from tests.unit.pipeline.formats.rig import written


def _run(code: str, data: bytes = b"") -> str:
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=False)
    assert done.returncode == 0, f"the child ended with {done.returncode} and wrote {done.stderr.decode()!r}"
    return done.stdout.decode().strip()


def test_the_registry_imports_nothing_heavy() -> None:
    code = "import sys, shared.pipeline.formats, shared.pipeline.sources; print({'pyarrow', 'polars', 'pandas'} & set(sys.modules))"
    assert _run(code) == "set()"


@pytest.mark.parametrize("fmt", list(Format))
def test_reading_does_not_import_pandas(fmt: Format) -> None:
    source = pa.table({"i": [1, 2], "f": [0.5, None], "t": ["x", None], "b": [True, None]})
    code = (
        "import sys; from shared.pipeline.formats import Format, ReadOptions, reader; "
        "from shared.pipeline.sources import BytesOpener; "
        f"opener, fmt = BytesOpener(sys.stdin.buffer.read()), reader(Format({fmt.value!r})); "
        "scan = fmt.scan(opener, ReadOptions()); "
        "print(sum(batch.num_rows for batch in fmt.batches(opener, scan)), 'pandas' in sys.modules)"
    )
    assert _run(code, written(fmt, source)) == "2 False"
