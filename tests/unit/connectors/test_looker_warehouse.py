"""Which warehouse hosts may be dialled, COPY text, and what imports with the light part."""

from __future__ import annotations

import socket
import subprocess
import sys
from decimal import Decimal

import pyarrow as pa
import pytest

from shared.connectors import looker
from shared.connectors.looker.checksum import lines
from shared.connectors.looker.encode import copy_text
from shared.connectors.looker.warehouse import Warehouse, require_allowed
from shared.errors import TargetError


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("10.2.3.4", ["10.0.0.0/8"]),
        ("db.example.com", ["db.example.com"]),
        ("DB.Example.com.", ["db.example.com"]),
        ("a.db.internal", ["10.0.0.0/8", ".db.internal"]),
        ("fd00::1", ["fd00::/8"]),
    ],
)
def test_host_on_the_list_is_allowed(host: str, allowed: list[str]) -> None:
    require_allowed(host, allowed)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1", []),
        ("127.0.0.1", [""]),
        ("11.0.0.1", ["10.0.0.0/8"]),
        ("localhost", ["127.0.0.1", "127.0.0.0/8"]),
        ("evil-db.internal", [".db.internal"]),
        ("db.internal", [".db.internal"]),
        ("notdb.example.com", ["db.example.com"]),
        ("/var/run/postgresql", ["/var/run/postgresql"]),
        ("a.db.internal,10.0.0.1.db.internal", [".db.internal"]),
        ("x@y.db.internal", [".db.internal"]),
        ("", ["", "."]),
        ("0x7f000001", ["127.0.0.1"]),
    ],
)
def test_host_off_the_list_is_refused_naming_the_setting(host: str, allowed: list[str]) -> None:
    with pytest.raises(TargetError, match="WAREHOUSE_HOSTS") as caught:
        require_allowed(host, allowed)
    assert caught.value.code == "host_not_allowed"


def test_copy_text_tells_null_from_empty_and_escapes_what_ends_a_field() -> None:
    table = pa.table(
        {"a": ["", None, "\\N", "x\ty\nz\\\r"], "b": [True, None, False, None], "c": [1e-7, 0.1, None, 2.0]}
    )
    assert b"".join(copy_text(table)) == (
        b"\ttrue\t1e-7\n\\N\t\\N\t0.1\n\\\\N\tfalse\t\\N\nx\\ty\\nz\\\\\\r\t\\N\t2.0\n"
    )


def test_lines_are_exact_and_tell_null_from_empty() -> None:
    table = pa.table(
        {
            "f": pa.array([0.1, None], pa.float32()),
            "t": pa.array([1, None], pa.timestamp("ms", "America/New_York")),
            "d": pa.array([-1, None], pa.date32()),
            "u": pa.array([2**64 - 1, None], pa.uint64()),
            "p": pa.array([Decimal("-1.50"), None], pa.decimal128(9, 2)),
            "b": [True, None],
            "s": ["", None],
            "n": ["ä\n", None],
        }
    )
    bits = 4591870180174331904  # of the double that a float32's 0.1 is
    assert lines(table) == [
        f"{bits}\x1f1000\x1f-1\x1f18446744073709551615\x1f-1.50\x1ftrue\x1f\x1f0\x1fä\n\x1f3".encode(),
        b"\x1f\x1f\x1f\x1f\x1f\x1f\x1f-1\x1f\x1f-1",
    ]


def test_text_that_holds_the_separator_passes_for_nothing_else() -> None:
    one = pa.table({"a": ["x\x1f1\x1fy"], "b": ["z"]})
    other = pa.table({"a": ["x"], "b": ["y\x1f5\x1fz"]})
    assert lines(one) != lines(other)


def test_checking_rows_imports_no_pandas() -> None:
    program = (
        "import sys, pyarrow as pa, pyarrow.compute as pc; from shared.connectors.looker import checksum, encode;"
        "t = pa.table([pc.random(9), pa.nulls(9, pa.timestamp('us')), pa.nulls(9, pa.string())], ['f', 't', 's']);"
        "encode.check_values(t, 0); checksum.of_rows(t); list(encode.copy_text(t)); print('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_light_part_imports_nothing_heavy() -> None:
    program = (
        "import sys, shared.connectors.looker as light; light.Config;"
        "print(sorted({'psycopg', 'looker_sdk', 'polars', 'pyarrow', 'requests'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_warehouse_off_the_list_is_never_dialled() -> None:
    """A listener stands for a machine that only this service can reach."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        at = looker.Warehouse(host="127.0.0.1", port=server.getsockname()[1], database="d", user="u", sslmode="disable")
        with (
            pytest.raises(TargetError, match="WAREHOUSE_HOSTS"),
            Warehouse(at, "pw", ("10.0.0.0/8",)).connect("trying"),
        ):
            pass
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize("sslmode", ["", "requires", "REQUIRE", "require options=-csearch_path=x"])
def test_a_way_of_tls_that_libpq_has_not_is_refused_with_those_that_it_has(sslmode: str) -> None:
    at = looker.Warehouse(host="127.0.0.1", port=1, database="d", user="u", sslmode=sslmode)
    with pytest.raises(
        TargetError, match=r"warehouse\.sslmode is .*; expected one of allow, disable, prefer, require, "
    ):
        Warehouse(at, "pw", ("127.0.0.1",)).open()
