"""An emulator of Firestore in native mode: gRPC, kept in one SQLite file, for the real Google clients."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import grpc

from infra.local.emulators.clock import Clock
from infra.local.emulators.firestore.messages import raw
from infra.local.emulators.firestore.service import Firestore
from infra.local.emulators.grpc_server import service

SERVICE = "google.firestore.v1.Firestore"


def handler(path: Path, clock: Clock) -> grpc.GenericRpcHandler:
    """The gRPC handler of a Firestore kept in the file `path` (made if missing); it does its own locking."""
    return service(SERVICE, Firestore(path, clock), raw, lock=nullcontext())
