"""The call auction (domain.md 4)."""
