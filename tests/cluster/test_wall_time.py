"""The real clock of Slurm: three minutes, a warning, a requeue. The clock runs beside the other tests."""

from __future__ import annotations

from pathlib import Path

from cluster import Cluster, Limited, assert_same_weights


def test_the_end_of_the_wall_time_requeues_the_job_and_it_finishes(
    cluster: Cluster, limited: Limited, main_job: Path
) -> None:
    limited.watching.result(timeout=240)
    cluster.ended(limited.job)
    assert (cluster.field(limited.job, "JobState"), cluster.exit_code(limited.job)) == ("COMPLETED", 0)
    assert int(cluster.field(limited.job, "Restarts")) >= 1
    assert_same_weights(limited.folder, main_job)
