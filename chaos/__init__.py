"""Break clusters, real ones and simulated ones, and judge what happened."""
