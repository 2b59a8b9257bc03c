"""Nothing acknowledged is missing, nothing refused is there, and nothing happened twice (reliability.md, promise 1)."""

from __future__ import annotations

from collections.abc import Iterable

from chaos.history import Operation, Placed


def check(operations: Iterable[Operation], placed: Iterable[Placed]) -> list[str]:
    """Compare what clients were told with the orders that the cluster holds at the end."""
    held: dict[tuple[str, str], list[str]] = {}
    for order in placed:
        held.setdefault((order.account_id, order.client_order_id), []).append(order.order_id)
    violations = []
    for key, order_ids in held.items():
        if len(order_ids) > 1:
            violations.append(f"{key[0]} {key[1]}: executed {len(order_ids)} times, as {', '.join(order_ids)}")
    for operation in operations:
        found = held.get((operation.account_id, operation.client_order_id), [])
        name = f"{operation.account_id} {operation.client_order_id}"
        if operation.outcome == "ok" and operation.order_id not in found:
            there = f"; there is {', '.join(found)}" if found else ""
            violations.append(f"{name}: acknowledged as {operation.order_id} at {operation.log_index}, missing{there}")
        elif operation.outcome == "fail" and found:
            violations.append(f"{name}: the client was told that it failed, and it is there as {found[0]}")
    return violations
