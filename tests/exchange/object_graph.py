"""Live object graphs by introspection: which attributes objects have, and whether two graphs are the same."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import Enum
from typing import Any

import msgspec

from node.exchange.orders import Order

PLAIN = (int, str, bytes, bool, type(None))
DIFFERENCES_MAX = 5


def attribute_names(kind: type) -> list[str]:
    """The names that the slots of a class and its bases declare."""
    if issubclass(kind, msgspec.Struct):
        return list(kind.__struct_fields__)
    return [name for base in reversed(kind.__mro__) for name in getattr(base, "__slots__", ())]


def attributes(item: object) -> dict[str, Any]:
    """Every attribute of one object: slots and its dictionary. An attribute that is not set is missing here."""
    found = {name: getattr(item, name) for name in attribute_names(type(item)) if hasattr(item, name)}
    return found | getattr(item, "__dict__", {})


def objects(root: object) -> Iterator[object]:
    """Everything that is reachable from an object and is neither a container nor a plain value."""
    seen: set[int] = set()
    pending: list[object] = [root]
    while pending:
        item = pending.pop()
        if isinstance(item, PLAIN) or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, dict):
            pending += item.keys()
            pending += item.values()
        elif isinstance(item, list | tuple | deque):
            pending += item
        else:
            yield item
            pending += attributes(item).values()


def differences(one: object, two: object, *, ignored: tuple[type, ...] = ()) -> list[str]:
    """Where two graphs differ: types, values, order of containers, attributes, and which objects are shared.

    What objects of the `ignored` types hold is not compared.
    """
    found: list[str] = []
    twins: dict[int, object] = {}
    pending: deque[tuple[str, Any, Any]] = deque([("", one, two)])
    while pending and len(found) < DIFFERENCES_MAX:
        path, a, b = pending.popleft()  # breadth first: the shortest path to each difference
        if type(a) is not type(b) or isinstance(a, Enum):
            found.append(f"{path}: {a!r:.60} ({type(a).__name__}) is {b!r:.60} ({type(b).__name__})")
        elif isinstance(a, ignored):
            continue
        elif isinstance(a, PLAIN):
            if a != b:
                found.append(f"{path}: {a!r:.60} is {b!r:.60}")
        elif id(a) in twins:
            if twins[id(a)] is not b:
                found.append(f"{path}: shared with another object")
        elif isinstance(a, dict):
            twins[id(a)] = b
            if list(a) != list(b):
                found.append(f"{path}: keys {list(a)!r:.200} are {list(b)!r:.200}")
            else:
                pending += [(f"{path}[{key!r}]", a[key], b[key]) for key in a]
        elif isinstance(a, list | tuple | deque):
            if not isinstance(a, tuple):
                twins[id(a)] = b
            if isinstance(a, deque) and a.maxlen != b.maxlen:
                found.append(f"{path}: bounded by {a.maxlen} is {b.maxlen}")
            if len(a) != len(b):
                found.append(f"{path}: {len(a)} items are {len(b)}")
            else:
                pending += [(f"{path}[{n}]", x, y) for n, (x, y) in enumerate(zip(a, b, strict=True))]
        else:
            if not isinstance(a, msgspec.Struct):
                twins[id(a)] = b
            ours, theirs = attributes(a), attributes(b)
            if isinstance(a, Order) and not a.alive and isinstance(b, Order):
                for links in (ours, theirs):  # nothing reads them again: a settlement may have dropped the position
                    del links["position"], links["side"]
            elif ours.keys() != theirs.keys():
                found.append(f"{path}: attributes differ by {sorted(ours.keys() ^ theirs.keys())}")
            pending += [(f"{path}.{name}", ours[name], theirs[name]) for name in ours if name in theirs]
    return found
