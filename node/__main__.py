"""`python -m node` is `qaexchange`."""

from node.cli import main

raise SystemExit(main())
