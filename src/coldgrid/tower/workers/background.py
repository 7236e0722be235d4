"""Background work of a worker: what each does for its own pages, and how the leader's duties are."""

from __future__ import annotations

from coldgrid.adapters.workers.link import NobodyDecides
from coldgrid.node.background import OVERVIEW_EVERY_S, Health, Loop
from coldgrid.node.driving import Driving
from coldgrid.node.live import publish_readings
from coldgrid.node.overview import Overview
from coldgrid.telemetry.arrivals import Arrivals
from coldgrid.telemetry.newest import Newest, copy_newest
from coldgrid.telemetry.watch import Watch
from coldgrid.tower.order_counts import order_counts
from coldgrid.tower.workers.lookout import told_of
from coldgrid.tower.workers.worker import Worker

HEARD_EVERY_S = 5.0
DUTIES_EVERY_S = 1.0
NEWEST_WITHIN_S = 60.0


class WorkerBackground:
    """What pages find as the background work of this host."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.notary = worker.notary
        self.overview = Overview(worker.reader, self._newest, worker.host.now, order_counts)
        self.loops = [
            Loop("overview", OVERVIEW_EVERY_S, self._look),
            Loop("duties", DUTIES_EVERY_S, worker.look_at_duties),
        ]
        if worker.with_nodes:
            self.loops.append(Loop("nodes heard by the leader", HEARD_EVERY_S, self._heard))

    @property
    def driving(self) -> Driving:
        """What runs the gateways, for a handler that is marked `AT_LEADER`.

        Raises:
            NobodyDecides: it is in another process.
        """
        tenure = self._worker.tenure
        if tenure is None:
            raise NobodyDecides()
        return tenure.background.driving

    def start(self) -> None:
        """Start."""
        for loop in self.loops:
            loop.start()

    def stop(self) -> None:
        """Stop."""
        for loop in reversed(self.loops):
            loop.stop()

    def health(self) -> list[Health]:
        """Say how the leader's duties are, what this worker does beside, and who the workers are."""
        worker = self._worker
        tenure = worker.tenure
        duties = worker.lookout.leader.parts if tenure is None else tenure.health()
        if worker.leaderless:  # what the last leader said of its duties is no longer so
            duties = [Health("decisions", False, "no worker decides", None)]
        return [*self.workers(), *duties, *(loop.health() for loop in self.loops)]

    def told(self) -> list[tuple[str, bool, str]]:
        """Say how each part is, for an operator at this machine."""
        return [(part.name, part.ok, part.detail) for part in self.health()]

    def workers(self) -> list[Health]:
        """Say how each worker is: one line each, this one's first."""
        worker, found = self._worker, []
        for heard in worker.lookout.workers:
            told, own = told_of(heard), heard.worker == worker.name
            lives = heard.silent_s < worker.lookout.lease_s + 1
            if told.role == "leader":
                does = f"leads by term {told.term}; {len(told.followers)} follow"
            else:
                does = "follows" if told.reached else "follows, and does not reach the leader"
            if told.stands_back:
                does = f"must not lead: {told.stands_back}"
            ok = lives and (told.role == "leader" or told.reached) and not told.stands_back
            detail = does if lives else f"silent for {heard.silent_s:.0f} s"
            name = f"worker {told.serves} {heard.worker}" + (" (this one)" if own else "")
            found.append((not own, Health(name, ok, detail, heard.silent_s)))
        return [health for _, health in sorted(found, key=lambda pair: (pair[0], pair[1].name))]

    def _newest(self) -> Newest:
        tenure = self._worker.tenure
        if tenure is None:
            return self._worker.asks.newest()
        fetch = tenure.service.call(
            lambda decider: copy_newest(decider.shared.hot[Watch], decider.shared.hot[Arrivals])
        )
        newest: Newest = fetch.result(NEWEST_WITHIN_S)
        return newest

    def _look(self) -> str:
        """Look, and only then tell the pages that show the picture."""
        if self.overview.refresh():
            self._worker.hub.publish("tower", "news", "", latest=True)
        picture = self.overview.picture()
        publish_readings(self._worker, picture)
        return f"{len(picture.sites):,} sites"

    def _heard(self) -> str:
        """Learn from the leader when nodes were heard, and let open pages look again."""
        worker = self._worker
        if worker.office.leads or worker.app is None:
            return "this worker hears them itself"
        heard = worker.asks.heard()
        if not worker.office.leads:
            worker.app.state.nodes = heard
            worker.app.state.node_port = None if heard is None else heard.port
        worker.hub.publish("nodes", "nodes", "", latest=True)
        return "no port for nodes" if heard is None else f"{len(heard.post.heard)} nodes"
