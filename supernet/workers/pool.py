"""Workers by Ray: evaluators in processes of their own, for `lanas.loop.search`.

    with opened(Share(4), store=len(images)) as pool:
        search(optimiser, log, pool.workers(make, images), trials)

An actor a worker. One that dies is started anew, on another machine where its own has gone.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from lanas.errors import Unavailable, UserError, WorkerDied, one_line
from lanas.space import Arch
from lanas.team import Evaluator, Worker, evaluate
from lanas.trials import Trial
from supernet.provenance import versions
from supernet.workers import rays

STARTS = 3  # deaths in a row while it starts, after which a worker is gone
Make = Callable[..., Evaluator]  # of the threads of a worker and what the object store holds


@dataclass(frozen=True)
class Share:
    """How many workers there are, and what each takes of a machine. gpus: a part of one, or none.

    threads: of the processor.
    """

    count: int
    threads: int = 1
    gpus: float = 0.0

    def __str__(self) -> str:
        return f"{self.count} worker{'s' if self.count > 1 else ''}"

    @property
    def ahead(self) -> int:
        """Architectures to ask for at a time: nobody waits while the next are asked for."""
        return self.count + -(-self.count // 2)


class Actor:
    """What runs in a process of Ray's: an evaluator, one architecture at a time."""

    def __init__(self, make: Make, version: str, threads: int, *big: Any) -> None:
        self.error: str | None = None
        try:
            if version != (here := versions()["lanas"]):
                raise UserError(f"lanas {here} is installed there, and {version} here")
            self.evaluator = make(threads, *big)
        except Exception as error:
            self.error = f"{type(error).__name__}: {one_line(error)}"
            if isinstance(error, UserError):
                self.error = one_line(error)

    def place(self) -> tuple[str, str | None]:
        """The node that it is on, and why it can evaluate nothing, if so."""
        import ray

        return str(ray.get_runtime_context().get_node_id()), self.error

    def evaluate(self, arch: Arch) -> Trial | str:
        """A trial, or why this worker can give none any more."""
        try:
            return evaluate(self.evaluator, arch)
        except Unavailable as error:
            return str(error)


class RayWorker(Worker):
    """One worker. begin: starts an actor, as soon as there is room for it."""

    def __init__(self, begin: Callable[[], Any]) -> None:
        self.begin, self.actor, self.ended = begin, None, False
        self.node = ""  # that the actor is on, once it can evaluate

    def ready(self) -> None:
        """Wait for the actor, which is started anew where it died."""
        import ray

        if self.node:
            return
        for _ in range(STARTS):
            if self.ended:
                raise Unavailable("the workers were ended")
            self.actor = actor = self.begin()
            if self.ended:  # in between
                self.end()
            try:
                node, error = ray.get(actor.place.remote())
            except ray.exceptions.RayActorError as died:
                why = str(died).strip().splitlines()[-1]
                continue
            if error is not None:
                self.end()
                raise Unavailable(error)
            self.node = node
            return
        raise Unavailable(f"it died {STARTS} times as it started: {why:.300}")

    def __call__(self, archs: Sequence[Arch], /) -> Iterator[Trial]:
        """The trial of one architecture."""
        import ray

        (arch,) = archs
        assert self.actor is not None
        try:
            answer = ray.get(self.actor.evaluate.remote(arch))
        except ray.exceptions.RayTaskError:
            raise  # a fault of ours
        except ray.exceptions.RayError as error:
            gone = not isinstance(error, ray.exceptions.ActorDiedError) or self._node_gone()
            self.end()
            what = "its machine is gone" if gone else "its process ended"
            raise WorkerDied(what, blames=not gone) from None
        if isinstance(answer, str):
            raise Unavailable(answer)
        yield answer

    def _node_gone(self) -> bool:
        import ray

        return not any(node["NodeID"] == self.node and node["Alive"] for node in ray.nodes())

    def end(self, *, for_good: bool = False) -> None:
        """End its process, also one that waits for room, and where `for_good` start no other."""
        import ray

        self.ended = self.ended or for_good  # first: `ready` looks there once it has begun one
        actor, self.actor, self.node = self.actor, None, ""
        if actor is not None:
            with suppress(Exception):  # it may be gone
                ray.kill(actor)


class Pool:
    """The workers of a Ray that this process has begun or joined."""

    def __init__(self, share: Share) -> None:
        self.share, self.current = share, list[RayWorker]()

    def workers(self, make: Make, *big: Any) -> list[RayWorker]:
        """New workers, in place of those before; each calls `make(threads, *big)` once.

        make is pickled; big: what goes through the object store.
        """
        import ray

        self.end()
        share, actor = self.share, ray.remote(Actor)
        held = [ray.put(each) for each in big]
        options = {"num_cpus": share.threads, "num_gpus": share.gpus, "max_restarts": 0}

        def begin() -> Any:
            made = actor.options(**options)
            return made.remote(make, versions()["lanas"], share.threads, *held)

        self.current = [RayWorker(begin) for _ in range(share.count)]
        return self.current

    def end(self) -> None:
        """End the workers."""
        for worker in self.current:
            worker.end(for_good=True)
        self.current = []


# -- opening -------------------------------------------------------------------------------------


@contextmanager
def opened(
    share: Share, say: Callable[[str], None] = print, *, gpus: int = 0, store: int = 0
) -> Iterator[Pool]:
    """Workers on this machine while the block runs. gpus: that it has. store: bytes to be sent."""
    with rays.local(share.count * share.threads, gpus, store) as folder:
        part = f" and {share.gpus:g} of a GPU" if share.gpus else ""
        each = f"{share.threads} thread{'s' if share.threads > 1 else ''}{part} each"
        say(f"{share} on this machine, {each}; Ray writes in {folder}, until it ends")
        yield from _ended(Pool(share))


@contextmanager
def opened_at(
    address: str, share: Callable[[float, float], Share], say: Callable[[str], None]
) -> Iterator[Pool]:
    """Workers of a cluster while the block runs. share: of how many cores and GPUs it has."""
    import ray

    with rays.joined(address):
        there = ray.cluster_resources()
        pool = Pool(share(there.get("CPU", 0.0), there.get("GPU", 0.0)))
        say(said(pool.share, there))
        yield from _ended(pool)


def _ended(pool: Pool) -> Iterator[Pool]:
    try:
        yield pool
    finally:
        pool.end()


def said(share: Share, there: dict[str, float]) -> str:
    """One line: the workers of a cluster, and where it has no room for all of them."""
    nodes = sum(name.startswith("node:") and "head" not in name for name in there)
    cores, gpus = int(there.get("CPU", 0)), there.get("GPU", 0.0)
    room = cores // share.threads
    if share.gpus:
        room = min(room, int(gpus) * int(1 / share.gpus))
    has = f"{nodes} machine{'s' if nodes > 1 else ''}, {cores} cores, {gpus:g} GPUs"
    line = f"{share} on a cluster of {has}"
    return line if room >= share.count else f"{line}; there is room for {room}, the others wait"
