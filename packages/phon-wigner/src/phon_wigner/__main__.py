"""``python -m phon_wigner``."""

from __future__ import annotations

import sys

from phon_wigner.cli import main

if __name__ == "__main__":
    sys.exit(main())
