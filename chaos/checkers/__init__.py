"""Judges: pure functions from a history to the violations in it, one judgement per module. No violation: []."""
