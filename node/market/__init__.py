"""Views derived from events: rebuilt from the log, never part of the state hash."""
