"""Obviously right models of the exchange, written from domain.md alone: the oracles of the fast machine.

They know nothing of `node.exchange` but its vocabulary (types, commands, events, rejects), keep no sums and no indexes,
and prefer a second walk over the data to any cleverness. A disagreement is a bug of one of the two.
"""
