"""The one thread that syncs the WAL, and the group commit around it.

A sync on the consensus thread would be faster on a quiet disk and stop the whole node on a busy one. There is one
long-lived thread instead of `trio.to_thread` per sync, which costs twice the latency. While one sync runs, appends
gather for the next: that is the group commit. At most one job is on its way.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

import trio

from consensus.errors import Fatal
from storage.errors import StorageError
from storage.wal import SyncJob

_STOP_S = 5.0  # a sync that takes longer than this at shutdown is left to the end of the process


class Flusher:
    """Runs sync jobs from `begin`, one at a time, and reports each to `finish` on the trio thread."""

    def __init__(
        self, begin: Callable[[], SyncJob | None], finish: Callable[[SyncJob], None], wake: Callable[[], None]
    ) -> None:
        self._begin = begin
        self._finish = finish
        self._wake = wake
        self._token = trio.lowlevel.current_trio_token()
        self._jobs: queue.SimpleQueue[SyncJob | None] = queue.SimpleQueue()  # holds one job at most
        self._busy = False
        self._stopped = trio.Event()
        self._failure: BaseException | None = None
        threading.Thread(target=self._work, name="wal-sync", daemon=True).start()

    def kick(self) -> None:
        """Start a sync if there is something to sync and none on its way. Raises Fatal if the last one failed."""
        if self._failure is not None:
            known = isinstance(self._failure, (Fatal, StorageError))
            what = str(self._failure) if known else f"syncing the log failed ({self._failure!r}); keep the traceback"
            raise Fatal(f"{what}. Nothing that was not synced was acknowledged") from self._failure
        if not self._busy and (job := self._begin()) is not None:
            self._busy = True
            self._jobs.put(job)

    async def stop(self) -> bool:
        """End the thread. Returns whether it ended: False if the disk hangs."""
        self._jobs.put(None)
        with trio.CancelScope(shield=True), trio.move_on_after(_STOP_S):
            await self._stopped.wait()
        return self._stopped.is_set()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            failure: BaseException | None = None
            try:
                job.run()
            except BaseException as error:  # whatever it is, nothing more may be promised
                failure = error
            self._report(self._done, job, failure)
        self._report(self._stopped.set)

    def _report(self, function: Callable[..., object], *args: object) -> None:
        try:
            self._token.run_sync_soon(function, *args)
        except trio.RunFinishedError:
            pass  # the process is leaving; nobody waits for the answer

    def _done(self, job: SyncJob, failure: BaseException | None) -> None:
        self._busy = False
        if self._failure is not None or self._stopped.is_set():
            return
        try:
            if failure is not None:
                raise failure
            self._finish(job)
            self.kick()
        except BaseException as error:  # trio would call it an internal error here; the next `kick` raises it
            self._failure = error
            self._wake()
