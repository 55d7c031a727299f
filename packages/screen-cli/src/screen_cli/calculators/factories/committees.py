"""Factories of the force fields that know how far to trust themselves: their members' forces arrive as ε."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from screen_cli.calculators.factories.trust import no_download, obeying, refuse_path, trusted, weights_file
from screen_cli.errors import ConfigError

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator


def make_mace(
    path: str | Sequence[str] | None = None,
    model: str = "medium-mpa-0",
    device: str = "cpu",
    default_dtype: str = "float64",
    head: str | None = None,
    *,
    download: bool = False,
    trust: bool = False,
    **options: object,
) -> BaseCalculator:
    """Make a MACE calculator from model files, or a foundation model after a download.

    Parameters
    ----------
    path : str or sequence of str, optional
        Model file; several are a committee, whose members' forces give ε.
    model : str
        Name of a foundation model of ``mace_mp`` (used with ``download=True``).
    head : str, optional
        Of a model that has several, as after fine-tuning with replay; default: the one called ``Default``.
    """
    own: dict[str, object] = {} if head is None else {"head": head}
    if path is None and not download:
        raise no_download("mace", f"the foundation model '{model}' from the MACE release page")
    if path is None:
        refuse_path(model, "mace")
        from mace.calculators import mace_mp

        found = mace_mp(model=model, device=device, default_dtype=default_dtype, **own, **options)
        return obeying(found, options)
    files = [str(trusted(name, "mace", trust)) for name in ([path] if isinstance(path, str) else path)]
    from mace.calculators import MACECalculator

    if len(files) == 1:
        single = MACECalculator(model_paths=files[0], device=device, default_dtype=default_dtype, **own, **options)
        return obeying(single, options)

    class MACECommittee(MACECalculator):
        """Several MACE models as the committee that they are."""

        def calculate(self, *arguments: object, **keywords: object) -> None:
            """Compute, and name the members' forces as every committee does."""
            super().calculate(*arguments, **keywords)
            add_members(self.results, self.results["forces_comm"])

    committee = MACECommittee(model_paths=files, device=device, default_dtype=default_dtype, **own, **options)
    return obeying(committee, options)


def make_upet(
    path: str | None = None,
    model: str = "pet-mad-s",
    device: str | None = None,
    dtype: str | None = "float64",
    *,
    uncertainty: bool = False,
    download: bool = False,
    trust: bool = False,
    **options: object,
) -> BaseCalculator:
    """Make a UPET calculator (PET-MAD, PET-OAM, ...) from a checkpoint, or by name after a download.

    Parameters
    ----------
    path : str, optional
        Checkpoint file.
    model : str
        Published name (used with ``download=True``).
    uncertainty : bool
        Ask the model's own ensemble for the forces of its members, which give ε; slower.
    """
    what = f"the checkpoint '{model}' from the Hugging Face Hub"
    file = weights_file(path, "upet", model, what=what, download=download, trust=trust)
    if "checkpoint_path" in options:
        raise ConfigError("calculator 'upet': give a file as path, not as checkpoint_path.")
    source = {"model": model} if file is None else {"checkpoint_path": file}
    from upet.ase import UPETCalculator

    if not uncertainty:
        return obeying(UPETCalculator(**source, device=device, dtype=dtype, **options), options)

    class UPETEnsemble(UPETCalculator):
        """A PET model with the spread of its last layer as a committee."""

        def calculate(self, *arguments: object, **keywords: object) -> None:
            """Compute, and name the members' forces as every committee does."""
            super().calculate(*arguments, **keywords)
            add_members(self.results, np.moveaxis(self.get_forces_ensemble(), -1, 0))

    return obeying(UPETEnsemble(**source, device=device, dtype=dtype, **options), options)


def add_members(results: dict[str, object], forces: NDArray[np.floating]) -> None:
    """Put the members' forces and ε, by the names that every committee uses, among a calculator's results.

    Parameters
    ----------
    results : dict
    forces : ndarray
        (n_models, n_atoms, 3), eV/Å.

    Notes
    -----
    ε of an atom is the square root of the mean over the members of the squared distance of their force from the mean
    (Rodriguez et al., Commun. Mater. 4, 61 (2023), Eq. 3, doi:10.1038/s43246-023-00390-3).
    """
    members = np.asarray(forces, dtype=np.float64)
    departures = members - members.mean(axis=0)
    results["forces_committee"] = members
    results["force_deviation"] = np.sqrt((departures**2).sum(axis=-1).mean(axis=0))
