"""python eventsourcing_append.py URL SECONDS THREADS FUNCTIONS: append one event a call; print how many a second.

It runs in an environment of its own, with the `eventsourcing` package. FUNCTIONS is 1 to append by its database
functions.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from urllib.parse import urlsplit
from uuid import uuid4

from eventsourcing.persistence import StoredEvent  # type: ignore[import-not-found]  # it is in another environment
from eventsourcing.postgres import (  # type: ignore[import-not-found]  # it is in another environment
    PostgresApplicationRecorder,
    PostgresDatastore,
)

STATE = json.dumps({"pledge": "p", "donors": ["GBR"], "capability": "drone.fpv", "note": "x" * 300}).encode()


def main() -> None:
    """Append from many threads until the time is up."""
    url, seconds, threads = urlsplit(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    store = PostgresDatastore(
        dbname=url.path.lstrip("/"),
        host=url.hostname or "",
        port=url.port or 5432,
        user=url.username or "",
        password=url.password or "",
        pool_size=threads,
        enable_db_functions=sys.argv[4] == "1",
    )
    recorder = PostgresApplicationRecorder(store, events_table_name="events")
    recorder.create_table()
    counts = [0] * threads
    until = time.perf_counter() + seconds

    def append(which: int) -> None:
        while time.perf_counter() < until:
            event = StoredEvent(originator_id=uuid4(), originator_version=1, topic="pledge:Announced", state=STATE)
            recorder.insert_events([event])
            counts[which] += 1

    began = time.perf_counter()
    working = [threading.Thread(target=append, args=(which,)) for which in range(threads)]
    for thread in working:
        thread.start()
    for thread in working:
        thread.join()
    print(json.dumps({"per_second": sum(counts) / (time.perf_counter() - began)}))
    store.close()


if __name__ == "__main__":
    main()
