"""Ready test classes for third parties: subclass, name your trainer, and pytest does the rest.

::

    from al_committee.testing.contracts import TrainerContract

    class TestMyTrainer(TrainerContract):
        def make_trainer(self):
            return MyTrainer(epochs=2)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.typing import NDArray

from al_committee.committee.calculator import CommitteeCalculator
from al_committee.committee.protocols import Trainer
from al_committee.testing import PairTeacher, toy_crystals

__all__ = ["TrainerContract"]


class TrainerContract:
    """What a loop relies on in a trainer (:class:`al_committee.committee.protocols.Trainer`)."""

    n_members = 3

    def make_trainer(self) -> Trainer:
        """Make the trainer under test, fast rather than good."""
        raise NotImplementedError("return your trainer from make_trainer")

    def make_labels(self, count: int = 6) -> list[Atoms]:
        """Small labelled crystals: energy (eV) and forces (eV/Å)."""
        labelled = []
        for seed, (_, atoms) in enumerate(toy_crystals(count)):
            atoms.rattle(0.04, seed=seed)
            teacher = PairTeacher()
            forces = teacher.get_property("forces", atoms)
            energy = teacher.get_property("energy", atoms)
            atoms.calc = SinglePointCalculator(atoms, forces=forces, energy=energy)
            labelled.append(atoms)
        return labelled

    def _train(self, folder: Path, seed: int = 5, warm_start: list[Path] | None = None) -> tuple[Trainer, list[Path]]:
        """Train in a folder."""
        labels = self.make_labels()
        trainer = self.make_trainer()
        folder.mkdir(parents=True)
        paths = trainer.train(
            labels[:-1],
            labels[-1:],
            workdir=folder,
            seed=seed,
            warm_start=warm_start,
            n_members=self.n_members,
        )
        return trainer, [Path(path) for path in paths]

    def _forces(self, trainer: Trainer, paths: list[Path]) -> list[NDArray[np.float64]]:
        """Members' forces on two structures of different sizes."""
        first, second = self.make_labels()[:2]
        predicted = trainer.committee(paths).predict_committee([first, second * (2, 1, 1)])
        return [np.asarray(forces) for forces in predicted["forces"]]

    def test_models_are_files_inside_the_workdir(self, tmp_path: Path) -> None:
        """One file per member, all of them below workdir."""
        _, paths = self._train(tmp_path / "a")
        assert len(set(paths)) == self.n_members
        assert all(path.is_file() and (tmp_path / "a") in path.parents for path in paths)

    def test_committee_has_the_promised_shapes_and_its_members_differ(self, tmp_path: Path) -> None:
        """Forces (n_models, n_atoms, 3) per structure; members are not clones."""
        trainer, paths = self._train(tmp_path / "a")
        forces = self._forces(trainer, paths)
        n_atoms = len(self.make_labels()[0])
        assert forces[0].shape == (self.n_members, n_atoms, 3)
        assert forces[1].shape[0] == self.n_members
        assert np.abs(forces[0] - forces[0][0]).max() > 0

    def test_same_seed_same_models_and_other_seed_others(self, tmp_path: Path) -> None:
        """Kills must not change a loop's course: training is a function of data and seed."""
        trainer, first = self._train(tmp_path / "a")
        _, second = self._train(tmp_path / "b")
        _, other = self._train(tmp_path / "c", seed=6)
        reference, again = self._forces(trainer, first), self._forces(trainer, second)
        scale = np.abs(reference[0]).max()
        assert np.abs(reference[0] - again[0]).max() <= 1e-5 * scale
        assert np.abs(reference[0] - self._forces(trainer, other)[0]).max() > 1e-5 * scale

    def test_warm_start_takes_the_models_of_the_last_round(self, tmp_path: Path) -> None:
        """A warm start gives as many models, and they are usable."""
        _, before = self._train(tmp_path / "a")
        trainer, after = self._train(tmp_path / "b", warm_start=before)
        assert len(after) == self.n_members
        assert all(np.isfinite(forces).all() for forces in self._forces(trainer, after))

    def test_committee_calculator_accepts_it(self, tmp_path: Path) -> None:
        """Mean forces and ε come out, and match the members."""
        trainer, paths = self._train(tmp_path / "a")
        atoms = self.make_labels()[0]
        prediction = CommitteeCalculator([trainer.committee(paths)]).evaluate([atoms])[0]
        members = self._forces(trainer, paths)[0]
        assert np.abs(prediction.mean_forces - members.mean(axis=0)).max() <= 1e-6 * np.abs(members).max()
        assert prediction.force_deviation.shape == (len(atoms),)
