"""Break real clusters, and judge what happened. Uses the public client and the configuration only."""
