"""What calls count against at Power BI: learn.microsoft.com/power-bi/developer/embedded/push-datasets-limitations"""

from __future__ import annotations

from shared.connectors._quota import Limit, Need

_VENDOR = "power_bi"
_MINUTE_S, _HOUR_S = 60.0, 3_600.0
POSTS_A_MINUTE = 120
POSTS_AN_HOUR = 120  # once a table of the dataset has LARGE_TABLE_ROWS; the hour counts earlier POSTs too
LARGE_TABLE_ROWS = 250_000
ROWS_AN_HOUR = 1_000_000
POSTS_IN_FLIGHT = 5
QUERIES_A_MINUTE = 120  # of one user: rest/api/power-bi/datasets/execute-queries


def of_post(dataset_id: str, rows: int, rows_before: int) -> tuple[Need, ...]:
    """Return what one POST of rows needs; `rows_before` are in the table already."""
    posts = Limit(_VENDOR, "dataset", dataset_id, POSTS_A_MINUTE, _MINUTE_S, "posts_a_minute")
    hourly = Limit(_VENDOR, "dataset", dataset_id, POSTS_AN_HOUR, _HOUR_S, "posts_an_hour")
    in_flight = Limit(_VENDOR, "dataset", dataset_id, POSTS_IN_FLIGHT, 0.0, "posts_in_flight")
    needs = [Need(posts), Need(hourly, is_binding=rows_before >= LARGE_TABLE_ROWS), Need(in_flight)]
    if rows:
        needs.append(Need(Limit(_VENDOR, "dataset", dataset_id, ROWS_AN_HOUR, _HOUR_S, "rows_an_hour"), rows))
    return tuple(needs)


def of_query(client_id: str) -> tuple[Need, ...]:
    """Return what one executeQueries needs."""
    return (Need(Limit(_VENDOR, "user", client_id, QUERIES_A_MINUTE, _MINUTE_S, "queries")),)
