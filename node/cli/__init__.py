"""The command line, `qaexchange`. One module per verb; each imports what it needs when it runs.

Exit status: 0 done; 1 it failed, or the answer is no; 2 the configuration or the command line is wrong. An expected
error is one clear line on stderr (`node.errors`).
"""

from node.cli.root import main

__all__ = ["main"]
