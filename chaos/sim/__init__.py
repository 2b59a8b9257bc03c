"""The deterministic simulator: a cluster in one process, with a virtual network, disk and clock."""
