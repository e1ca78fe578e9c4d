"""What whoever runs the read side watches: how far each read model is, and its rebuild; as Prometheus wants it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from prometheus_client.core import GaugeMetricFamily, Metric

from services.projections.checkpoints import Checkpoint, Rebuild, lag_s, silent_s


def head_of(found: Sequence[Checkpoint]) -> int:
    """Give the stream's last position as far as any read model knows: one that stopped does not look ahead any more."""
    return max((max(checkpoint.head, checkpoint.position) for checkpoint in found), default=0)


def age_s(checkpoint: Checkpoint, head: int, silence_s: float, now: datetime) -> float:
    """Give how old the oldest event may be that is not applied yet, in seconds; 0 when caught up.

    Where no worker is heard of, nobody knows what came since: it may be as old as that silence.
    """
    since = checkpoint.behind_since or checkpoint.recorded_at
    return max(lag_s(checkpoint.position, head, since, now), silence_s)


def families(found: Sequence[Checkpoint], rebuilds: Sequence[Rebuild] = ()) -> Iterator[Metric]:
    """Give the figures of every read model, labelled by its name and version."""
    labels = ["read_model", "version"]
    position = GaugeMetricFamily("muster_read_model_position", "The last position applied.", labels=labels)
    behind = GaugeMetricFamily("muster_read_model_lag_positions", "Events not yet applied.", labels=labels)
    age = GaugeMetricFamily("muster_read_model_lag_seconds", "Age of the oldest event not applied.", labels=labels)
    running = GaugeMetricFamily("muster_read_model_running", "1 while it moves, 0 once stopped.", labels=labels)
    head, silence_s, now = head_of(found), silent_s(found), datetime.now(UTC)
    for checkpoint in found:
        of = [checkpoint.name, str(checkpoint.version)]
        position.add_metric(of, checkpoint.position)
        behind.add_metric(of, max(0, head - checkpoint.position))
        age.add_metric(of, age_s(checkpoint, head, silence_s, now))
        running.add_metric(of, int(checkpoint.status == "running"))
    yield from (position, behind, age, running)
    yield GaugeMetricFamily("muster_stream_head", "The stream's last position, as last seen.", value=head)
    built = GaugeMetricFamily("muster_rebuild_position", "Where the new build is, while one is made.", labels=labels)
    for rebuild in rebuilds:
        if rebuild.position is not None:
            built.add_metric([rebuild.name, str(rebuild.version)], rebuild.position)
    yield built
