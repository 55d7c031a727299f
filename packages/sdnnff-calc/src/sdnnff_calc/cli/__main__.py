"""``python -m sdnnff_calc.cli``: the command ``sdnnff``."""

import sys

from sdnnff_calc.cli import main

sys.exit(main())
