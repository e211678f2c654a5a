"""Slices of the parts `tables` and `malformed` for `make test`."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.campaigns.crashes import machine
from tests.campaigns.malformed.run import counts
from tests.campaigns.tables.run import FORMATS, KINDS, Bench, play, play_listed

LIGHT_BOMBS = frozenset(
    {
        "a cell beyond the limit",
        "a column for each byte",
        "deep array",
        "deep value in a row",
        "1.4 KB that claim a million rows",
        "entities that multiply",
        "a text beyond the limit",
        "lists in lists",
    }
)


def test_tables_go_from_every_format_to_every_target_and_back_unchanged() -> None:
    refused = 0
    with machine() as running:
        for kind in KINDS:
            for number, fmt in enumerate(FORMATS):
                bench = Bench(running, kind)
                count = play(bench, fmt, examples=2, first_seed=number)
                assert count.wrong == [], f"{fmt} to {kind}"
                count = play_listed(bench, fmt, keeps=(FORMATS[number - 1],))
                assert count.wrong == [], f"{fmt} to {kind}"
                assert count.delivered == 1, f"{fmt} to {kind}"
                refused += count.refused
    assert refused > 150


def test_malformed_files_are_refused_with_a_reason_and_nothing_is_written() -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as fresh:  # a small parent: its memory counts in every fork of it
        found = fresh.submit(counts, 1, 14, LIGHT_BOMBS).result()
    for fmt, count in found.items():
        assert [f"{outcome.kind}: {outcome.problem}" for outcome in count.problems] == [], fmt
        assert count.refused >= 12, fmt
