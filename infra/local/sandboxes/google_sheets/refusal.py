"""Why one request of a batch cannot be applied."""

from __future__ import annotations


class Refusal(Exception):
    """Google's text without its prefix `Invalid requests[i].kind: `, which the batch adds."""
