"""The log respects real time: what was acknowledged before another request began stands before it in the log."""

from __future__ import annotations

from collections.abc import Iterable

from chaos.history import Operation


def check(operations: Iterable[Operation]) -> list[str]:
    """Linear in the number of operations after sorting: the highest index acknowledged so far is a lower bound."""
    acknowledged = [operation for operation in operations if operation.outcome == "ok"]
    by_completion = sorted(acknowledged, key=lambda operation: operation.completed_s)
    violations = []
    done = 0
    newest: Operation | None = None
    for operation in sorted(acknowledged, key=lambda operation: operation.invoked_s):
        while done < len(by_completion) and by_completion[done].completed_s < operation.invoked_s:
            if newest is None or by_completion[done].log_index > newest.log_index:
                newest = by_completion[done]
            done += 1
        if newest is not None and operation.log_index < newest.log_index:
            violations.append(
                f"{operation.client_order_id} began after {newest.client_order_id} was acknowledged at "
                f"{newest.log_index}, and stands before it at {operation.log_index}"
            )
    return violations
