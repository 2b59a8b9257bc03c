"""The exchange itself: a deterministic state machine. Bytes in, events out; no I/O, no clock, no randomness, no float."""
