"""A recorded NASDAQ day in LOBSTER's format, as steps that any price-time book can replay and be judged by.

LOBSTER publishes two files of one day: the messages (every event that touched the visible levels) and the book after
each message. `read_day` turns them into steps in file order: what to do (`Place`, `Reduce`, `Cancel`) and what must
then be true (the fills of a `Place`, the levels of a `CheckBook`). A book that keeps price-time priority shows no
difference.
"""

from node.lobster.convert import Day, open_day, read_day
from node.lobster.steps import BUY, SELL, Cancel, CheckBook, Fill, Level, LobsterError, Place, Reduce, Step

__all__ = [
    "BUY",
    "SELL",
    "Cancel",
    "CheckBook",
    "Day",
    "Fill",
    "Level",
    "LobsterError",
    "Place",
    "Reduce",
    "Step",
    "open_day",
    "read_day",
]
