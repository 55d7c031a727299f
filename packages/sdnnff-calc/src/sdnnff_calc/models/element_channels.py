"""Chemical elements as a few learned numbers.

Every element Z carries a vector w(Z) of ``n_channels`` numbers. It is the sum of a linear map of four
physical properties (group, period, electronegativity, covalent radius) and a learned correction. The table
always spans the whole periodic table, so the number of parameters does not grow with the elements of a
training set. That w(Z) is learned, its width and its initial values are part of our reconstruction; that the
parameters do not grow with the elements is published.

References
----------
Rodriguez et al., Commun. Mater. (2023), doi:10.1038/s43246-023-00390-3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sdnnff_calc.geometry.elements import N_ELEMENTS, element_properties

__all__ = ["ElementChannels"]


class ElementChannels(nn.Module):
    """Look up w(Z), the learned vector of an element.

    Parameters
    ----------
    n_channels : int
        Length of w(Z).
    """

    properties: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.register_buffer("properties", torch.tensor(element_properties(), dtype=torch.get_default_dtype()))
        self.linear = nn.Linear(4, n_channels)
        self.correction = nn.Parameter(0.3 * torch.randn(N_ELEMENTS, n_channels))

    def forward(self, numbers: Tensor) -> Tensor:
        """Give w(Z) of each atom.

        Parameters
        ----------
        numbers : Tensor
            Atomic numbers, int64, shape (n,).

        Returns
        -------
        Tensor
            Shape (n, n_channels), dimensionless.
        """
        table: Tensor = self.linear(self.properties) + self.correction
        return table.index_select(0, numbers)
