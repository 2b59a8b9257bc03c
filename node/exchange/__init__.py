"""The exchange itself: a deterministic state machine. Bytes in, events out.

No I/O, no clock, no randomness, no float: `tests/exchange/test_purity.py` and the import contracts check it.
"""
