"""Every performance claim as a command that prints its figure beside the target."""
