"""`python -m isonet2` is the command isonet2; torchrun starts it so."""

from isonet2.cli import main

raise SystemExit(main())
