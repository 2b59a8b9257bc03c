"""A child's end of the pipe that ties a node process to the process which started it (see `node.local`)."""

from __future__ import annotations

import logging
import os
import signal
import stat
import threading
from typing import Final

from node.errors import LifelineError

STOP_GRACE_S: Final = 10.0  # a node that could not leave in this time after its parent's death is ended

log = logging.getLogger(__name__)


def hold(descriptor: int = 0) -> None:
    """Stop this process when the other end of the pipe at `descriptor` closes: SIGTERM, then the hard way.

    A thread of its own waits, so that an event loop that stands still cannot keep an orphan alive.

    Raises:
        LifelineError: `descriptor` is no pipe.
    """
    try:
        is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except OSError:
        is_pipe = False
    if not is_pipe:
        raise LifelineError("--lifeline needs a pipe as standard input; it is for processes that start nodes")
    threading.Thread(target=_wait, args=(descriptor,), name="lifeline", daemon=True).start()


def _wait(descriptor: int) -> None:
    while os.read(descriptor, 4_096):
        pass
    log.warning("the process that started this node is gone: stopping")
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(STOP_GRACE_S)
    os._exit(1)
