r"""Local frames from the nearest neighbours, to make a grid density covariant.

The frame Q_i has its x axis towards a first neighbour, its z axis along r₁ × r₂ with a second, non-collinear
one, and y = z × x. Copies from other neighbour pairs, (n1,n2), (n2,n1), (n1,n3), are the training's
augmentation. That environments are rotated by nearest-neighbour rules into two to three copies is published;
the rules themselves are our reconstruction.

Frames jump where two neighbours are equally far: forces are exactly covariant away from such ties and
discontinuous at them.

References
----------
Rodriguez et al., Commun. Mater. (2023), doi:10.1038/s43246-023-00390-3, Methods.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["COLLINEAR", "local_frames", "nearest_neighbours"]

COLLINEAR = 0.98
"""|cos| above which two neighbours count as collinear (within 11.5°)."""


def nearest_neighbours(vector: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Find n1, n2 and n3: the nearest neighbour and the next two not collinear with it.

    Parameters
    ----------
    vector : Tensor
        Padded edge vectors, shape (n_atoms, width, 3), Å.
    present : Tensor
        Which of them exist, bool, shape (n_atoms, width).

    Returns
    -------
    chosen : Tensor, int64, shape (n_atoms, 3)
        Columns of n1, n2, n3; where n3 does not exist it repeats n2.
    n_found : Tensor, int64, shape (n_atoms,)
        How many exist: 0 (isolated), 1 (isolated pair or a straight chain), 2 or 3.
    """
    distance = vector.norm(dim=-1).masked_fill(~present, torch.inf)
    n1 = distance.argmin(dim=-1)
    unit = vector / vector.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    first = unit.gather(1, n1[:, None, None].expand(-1, 1, 3))
    off_axis = (unit * first).sum(dim=-1).abs() < COLLINEAR
    distance = distance.masked_fill(~off_axis, torch.inf)
    shortest, n2 = distance.min(dim=-1)
    found = present.any(dim=-1).long() + torch.isfinite(shortest).long()
    distance = distance.scatter(1, n2[:, None], torch.inf)
    shortest, n3 = distance.min(dim=-1)
    has_third = torch.isfinite(shortest)
    return torch.stack([n1, n2, torch.where(has_third, n3, n2)], dim=-1), found + has_third.long()


def local_frames(vector: Tensor, present: Tensor, copy: int = 0) -> tuple[Tensor, Tensor]:
    """Build Q_i, whose rows are the axes x, y, z of the frame.

    Parameters
    ----------
    vector : Tensor
        Padded edge vectors, shape (n_atoms, width, 3), Å.
    present : Tensor
        Which of them exist, bool, shape (n_atoms, width).
    copy : int
        0: (n1, n2); 1: (n2, n1); 2: (n1, n3).

    Returns
    -------
    frames : Tensor, shape (n_atoms, 3, 3)
        Proper rotations, Q r = components of r in the frame. Around an atom without a second direction the
        axes normal to the first are arbitrary.
    n_found : Tensor, int64, shape (n_atoms,)
        As :func:`nearest_neighbours`.
    """
    chosen, n_found = nearest_neighbours(vector, present)
    first, second = ((0, 1), (1, 0), (0, 2))[copy]
    pair = torch.stack([chosen[:, first], chosen[:, second]], dim=-1)
    r = vector.gather(1, pair.unsqueeze(-1).expand(-1, 2, 3))
    lonely = (n_found == 0).unsqueeze(-1)
    axis_x = vector.new_tensor([1.0, 0.0, 0.0]).expand(len(vector), 3)
    r1 = torch.where(lonely, axis_x, r[:, 0])
    x = r1 / r1.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    # without a second direction: the Cartesian axis most normal to x
    spare = torch.nn.functional.one_hot(x.abs().argmin(dim=-1), 3).to(vector.dtype)
    r2 = torch.where((n_found < 2).unsqueeze(-1), spare, r[:, 1])
    z = torch.linalg.cross(x, r2, dim=-1)
    z = z / z.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    y = torch.linalg.cross(z, x, dim=-1)
    return torch.stack([x, y, z], dim=-2), n_found
