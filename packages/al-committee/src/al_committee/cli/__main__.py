"""``python -m al_committee.cli``."""

from __future__ import annotations

import sys

from al_committee.cli import main

sys.exit(main())
