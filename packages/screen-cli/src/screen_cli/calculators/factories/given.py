"""Factories of the force fields whose weights the user gives as a file, or lets them download."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ase.data import chemical_symbols

from screen_cli.calculators.factories.trust import no_download, obeying, trusted, weights_file
from screen_cli.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator


def make_mattersim(
    path: str | None = None,
    model: str = "MatterSim-v1.0.0-1M.pth",
    device: str = "cpu",
    download: bool = False,
    trust: bool = False,
    **options: object,
) -> BaseCalculator:
    """Make a MatterSim calculator from a checkpoint, or by name after a download.

    Parameters
    ----------
    path : str, optional
        Checkpoint file.
    model : str
        Published name (used with ``download=True``).
    """
    what = f"the checkpoint '{model}' from its repository"
    file = weights_file(path, "mattersim", model, what=what, download=download, trust=trust)
    from mattersim.forcefield import MatterSimCalculator

    return obeying(MatterSimCalculator(load_path=file or model, device=device, **options), options)


def make_orb(
    path: str | None = None,
    model: str = "orb-v3-conservative-inf-omat",
    device: str = "cpu",
    precision: str = "float64",
    download: bool = False,
    trust: bool = False,
    **options: object,
) -> BaseCalculator:
    """Make an Orb calculator; ``path`` gives the weights of the architecture ``model``.

    Parameters
    ----------
    path : str, optional
        Weights file of that architecture.
    model : str
        Published name of architecture and weights.
    """
    if path is None and not download:
        raise no_download("orb", f"the weights of '{model}' from the provider's storage")
    from orb_models.forcefield import pretrained

    if model not in pretrained.ORB_PRETRAINED_MODELS:
        raise unknown_name("orb model", model, pretrained.ORB_PRETRAINED_MODELS)
    weights = {} if path is None else {"weights_path": str(trusted(path, "orb", trust))}
    loaded = pretrained.ORB_PRETRAINED_MODELS[model](device=device, precision=precision, **weights)
    if isinstance(loaded, tuple):  # since 0.6 a model comes with the adapter that makes its graphs
        from orb_models.forcefield.inference.calculator import ORBCalculator

        return obeying(ORBCalculator(*loaded, device=device, **options), options)
    from orb_models.forcefield.calculator import ORBCalculator

    return obeying(ORBCalculator(loaded, device=device, **options), options)


def make_deepmd(path: str | None = None, trust: bool = False, **options: object) -> BaseCalculator:
    """Make a DeePMD-kit calculator from a model file.

    Parameters
    ----------
    path : str
        Frozen or PyTorch model file (needed: DeePMD-kit ships none).
    """
    if path is None:
        raise ConfigError("calculator 'deepmd' needs its model file: set calculator.options.path.")
    from deepmd.calculator import DP

    return obeying(DP(model=str(trusted(path, "deepmd", trust)), **options), options)


def make_nequix(
    path: str | None = None,
    model: str = "nequix-oam-1-pft",
    backend: str = "torch",
    use_kernel: bool = False,
    download: bool = False,
    trust: bool = False,
    **options: object,
) -> BaseCalculator:
    """Make a Nequix calculator from a model file, or by name after a download.

    Parameters
    ----------
    path : str, optional
        ``.pt`` (torch) or ``.nqx`` (jax) file.
    model : str
        Published name (used with ``download=True``).
    backend : str
        ``"torch"``, or ``"jax"``, which compiles for each new size.
    use_kernel : bool
        Compiled kernels; they need a GPU.
    """
    what = f"the weights of '{model}' from its repository"
    file = weights_file(path, "nequix", model, what=what, download=download, trust=trust)
    from nequix.calculator import NequixCalculator

    calculator = NequixCalculator(model_name=model, model_path=file, backend=backend, use_kernel=use_kernel, **options)
    calculator.supported_elements = [chemical_symbols[int(number)] for number in calculator.atom_indices]
    return obeying(calculator, options)


def make_matgl(
    path: str | None = None,
    model: str = "TensorNet-PES-MatPES-PBE-2025.2",
    download: bool = False,
    trust: bool = False,
    **options: object,
) -> BaseCalculator:
    """Make a MatGL calculator (TensorNet, M3GNet, CHGNet) from a model folder, or by name after a download.

    Parameters
    ----------
    path : str, optional
        Folder with ``model.json``, ``model.pt`` and ``state.pt``.
    model : str
        Published name (used with ``download=True``).
    """
    what = f"the model '{model}' from the Hugging Face Hub"
    folder = weights_file(path, "matgl", model, what=what, download=download, trust=trust)
    import matgl
    from matgl.ext.ase import PESCalculator

    calculator = PESCalculator(matgl.load_model(folder or model), stress_unit="eV/A3", use_voigt=True, **options)
    calculator.supported_elements = list(calculator.element_types)
    return obeying(calculator, options)


def make_grace(
    path: str | None = None,
    model: str = "GRACE-2L-OAM",
    download: bool = False,
    trust: bool = False,
    **options: object,
) -> BaseCalculator:
    """Make a GRACE calculator (tensorpotential) from a saved model, or by name after a download.

    Parameters
    ----------
    path : str, optional
        Folder of a saved model.
    model : str
        Published name (used with ``download=True``).
    """
    what = f"the model '{model}' from its repository"
    folder = weights_file(path, "grace", model, what=what, download=download, trust=trust)
    if folder is None:
        from tensorpotential.calculator import grace_fm

        return obeying(grace_fm(model, **options), options)
    from tensorpotential.calculator import TPCalculator

    return obeying(TPCalculator(model=folder, **options), options)


def make_nequip(path: str | None = None, device: str = "cpu", trust: bool = False, **options: object) -> BaseCalculator:
    """Make a NequIP or Allegro calculator from a model that ``nequip-compile`` wrote.

    Parameters
    ----------
    path : str
        Compiled model (needed: the library ships none).
    """
    if path is None:
        raise ConfigError("calculator 'nequip' needs a compiled model: set calculator.options.path.")
    file = str(trusted(path, "nequip", trust))
    from nequip.integrations.ase import NequIPCalculator

    return obeying(NequIPCalculator.from_compiled_model(compile_path=file, device=device, **options), options)


def make_fairchem(
    path: str | None = None,
    model: str = "uma-s-1p1",
    task_name: str | None = "omat",
    device: str = "cpu",
    inference_settings: str = "high-precision",
    *,
    download: bool = False,
    trust: bool = False,
    **options: object,
) -> BaseCalculator:
    """Make a FAIRChem calculator (UMA, eSEN) from a checkpoint, or by name after a download.

    Parameters
    ----------
    path : str, optional
        Checkpoint file.
    model : str
        Published name (used with ``download=True``; its provider asks for a licence to be accepted).
    task_name : str, optional
        ``"omat"`` for crystals.
    inference_settings : str
        The library's reduced-precision modes spoil finite derivatives.
    """
    what = f"the checkpoint '{model}' from the Hugging Face Hub"
    file = weights_file(path, "fairchem", model, what=what, download=download, trust=trust)
    from fairchem.core import FAIRChemCalculator

    calculator = FAIRChemCalculator.from_model_checkpoint(
        file or model, task_name=task_name, device=device, inference_settings=inference_settings, **options
    )
    return obeying(calculator, options)
