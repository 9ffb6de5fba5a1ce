"""`python -m isonet2` is the command isonet2; launchers start ranks so."""

from isonet2.cli import main
from isonet2.parallel.groups import leave

code = main()
leave(code)
raise SystemExit(code)
