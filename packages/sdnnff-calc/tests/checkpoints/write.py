"""Write one small checkpoint per model kind in the current format, with the forces it gives.

Run once per format version and new kind: ``python write.py``. What is there is never written again.
"""

from pathlib import Path

import numpy as np
from ase.build import bulk

from sdnnff_calc import SDNNFF
from sdnnff_calc.models.checkpoint import FORMAT_VERSION, save_model
from sdnnff_calc.testing import SMALL_CONFIGS, toy_model

folder = Path(__file__).parent
atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
atoms.rattle(0.1, seed=3)
for name in SMALL_CONFIGS:
    path = folder / f"v{FORMAT_VERSION}-{name}.pt"
    if path.exists():
        continue
    save_model(toy_model(name), path)
    np.save(path.with_suffix(".npy"), SDNNFF(path).predict([atoms])[0]["forces"])
