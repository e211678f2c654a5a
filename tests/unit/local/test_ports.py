"""Ports in use are found before anything starts, and named with their part and the way out."""

from __future__ import annotations

import socket

import pytest

from infra.local.ports import PortInUseError, Ports, free_base


def test_a_port_in_use_is_named_with_its_part_and_how_to_choose_others() -> None:
    base = free_base(start=26_000)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", base + 14))
        taken.listen()

        with pytest.raises(PortInUseError, match=rf"port {base + 14} \(gcs\).*make run PORT_BASE=\d+ DATA=\.local2"):
            Ports(base).check_free()


def test_a_free_block_passes() -> None:
    Ports(free_base(start=27_000)).check_free()


@pytest.mark.parametrize("base", [80, 65_530])
def test_a_base_outside_the_range_is_refused(base: int) -> None:
    with pytest.raises(PortInUseError, match=f"PORT_BASE={base}: expected 1024 to 65515"):
        Ports(base).check_free()


def test_two_bases_give_two_disjoint_blocks() -> None:
    assert Ports(8080).address("firestore") == "127.0.0.1:8090"
    assert Ports(9000).url("emulator_admin") == "http://127.0.0.1:9019"
