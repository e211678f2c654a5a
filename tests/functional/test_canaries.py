"""The scanners find a planted secret, so their silence means something."""

from __future__ import annotations

from tests.conftest import CANARIES, found_in
from tests.functional.conftest import ENVIRONMENT, POWER_BI, SHEETS, World


def test_a_planted_canary_is_found_wherever_a_world_keeps_things() -> None:
    world = World(dict(ENVIRONMENT))
    assert found_in(world.left()) == []
    world.fakes.documents.create("export_jobs/x", {"error_message": f"refused {CANARIES[0]}"})
    world.fakes.objects.put("frozen", "x", CANARIES[1].encode())
    world.answers.append(CANARIES[2])
    assert found_in(world.left()) == list(CANARIES[:3])


def test_the_canaries_are_what_the_tests_send() -> None:
    assert found_in(f"{POWER_BI} {SHEETS}") == list(CANARIES[:2])
