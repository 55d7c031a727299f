"""Write one small checkpoint per model kind in the current format, with the forces it gives.

Run once per format version: ``python write.py``; never overwrite a file of an older version.
"""

from pathlib import Path

import numpy as np
from ase.build import bulk

from sdnnff_calc import SDNNFF
from sdnnff_calc.checkpoint import FORMAT_VERSION, save_model
from sdnnff_calc.testing import toy_model

folder = Path(__file__).parent
atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
atoms.rattle(0.1, seed=3)
for name in ("conservative-2", "direct-1", "grid"):
    path = save_model(toy_model(name), folder / f"v{FORMAT_VERSION}-{name}.pt")
    np.save(path.with_suffix(".npy"), SDNNFF(path).predict([atoms])[0]["forces"])
