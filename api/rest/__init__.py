"""The REST routes, one module per group. `ROUTES` is all of them; a route that is not in it does not exist."""

from __future__ import annotations

from typing import Final

from api.rest import account, auth, conditional, market, operator, order, position, session, settlement, trade
from api.rest.route import Route

ROUTES: Final[tuple[Route, ...]] = (
    *auth.ROUTES,
    *account.ROUTES,
    *conditional.ROUTES,
    *order.ROUTES,
    *position.ROUTES,
    *trade.ROUTES,
    *market.ROUTES,
    *settlement.ROUTES,
    *session.ROUTES,
    *operator.ROUTES,
)
