"""What numpy and zipfile raise over a damaged ``.npz`` file."""

from __future__ import annotations

import zipfile
import zlib

DAMAGED_NPZ = (OSError, EOFError, ValueError, LookupError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)
"""A flipped bit may claim a newer version of zip, encryption, another compression, or more room than there is."""
