"""Where tensors live: the device by name."""

from __future__ import annotations

import torch

from sdnnff_calc.errors import ConfigError

__all__ = ["choose_device"]


def choose_device(device: str) -> torch.device:
    """Resolve ``auto`` to a GPU when there is one.

    Raises
    ------
    ConfigError
        When the device is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen, dtype=torch.float64)  # energies are summed in it
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ConfigError(f"device {device!r} cannot be used here ({error}). Try device='auto' or 'cpu'.") from error
    return chosen
