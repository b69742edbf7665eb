"""The actor in which Ray runs a trial on one of its machines."""

import socket
from typing import Any

from paredown.search.drivers.driver import Job, RunTrial
from paredown.search.drivers.memory import worker_limit_bytes
from paredown.search.drivers.ray_resources import Resources, room
from paredown.search.drivers.shared_folder import Marker
from paredown.search.drivers.trial_host import EPOCHS, TrialHost

UNSEEN, NODE = "unseen", "node"
"""What an actor reports beside the news of its host: the machine that does not see the study's folder; its own."""


def trial_actor() -> Any:
    """Return the class of the actor."""
    import ray
    from ray import tune

    class TrialActor(tune.Trainable):  # type: ignore[misc]
        """Runs one trial, which it reports on from step to step, then is given the next."""

        def setup(
            self,
            config: dict[str, Any],
            run: RunTrial,
            judge: Any,
            marker: Marker,
            reserved: Resources,
            workers: int,
        ) -> None:
            def judged(job: Job, epoch: int, metrics: Any) -> str:
                return str(ray.get(judge.judge.remote(job.number, epoch, job.epochs, metrics, spared=job.spared)))

            self._sees = marker.is_seen
            self._node = ray.get_runtime_context().get_node_id()
            here = [node["Resources"] for node in ray.nodes() if node["NodeID"] == self._node]
            self._host = TrialHost(run, worker_limit_bytes(max(1, min(workers, room(here, reserved)))), judged)
            self._job: Job | None = config["job"]

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self._job = new_config["job"]
            return True

        def step(self) -> dict[str, Any]:
            if not self._sees:
                return {UNSEEN: socket.gethostname(), "done": True}
            if self._job is not None:
                self._host.begin(self._job)
                self._job = None
            news = self._host.news()
            return {**news, NODE: self._node, "done": set(news) != {EPOCHS}}

        def cleanup(self) -> None:
            self._host.close()

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            """Nothing: the study is the state."""

        def load_checkpoint(self, checkpoint: Any) -> None:
            """Nothing: the study is the state."""

    return TrialActor
