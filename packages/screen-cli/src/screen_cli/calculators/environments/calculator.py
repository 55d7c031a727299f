"""The ASE calculator that speaks for a force field in another environment."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from numpy.typing import NDArray

import screen_cli.errors
from screen_cli.calculators.environments.program import Header
from screen_cli.calculators.environments.server import ModelServer, ServedCalculator, ServerDiedError
from screen_cli.errors import CalculatorError, PluginError, ScreenError

Results = dict[str, float | NDArray[np.generic]]
"""Results of one structure by ASE's names and units."""


class ForeignCalculator(Calculator):
    """A force field that lives in an environment of its own; bit for bit what it gives there.

    Its server starts with it, dies with its last user and is started again when it dies by itself; a structure over
    which it dies twice is refused.

    Parameters
    ----------
    served : ServedCalculator
        Which force field, and where.

    Raises
    ------
    ModelEnvironmentError
        The server cannot be started.
    ScreenError
        The force field refuses its options, with its own sentence.
    """

    implemented_properties: list[str] = []  # noqa: RUF012 (ASE declares it so; every instance has its own)

    def __init__(self, served: ServedCalculator) -> None:
        super().__init__()
        self._server = ModelServer(served)
        self._fresh = True
        introduction = self._introduce()
        self.implemented_properties = [str(name) for name in cast("list[str]", introduction["properties"])]
        known = cast("list[str] | None", introduction["elements"])
        self.supported_elements: list[str] | None = known
        if introduction["descriptors"]:
            self.descriptors = self._descriptors

    @property
    def process_id(self) -> int:
        """Process of the server."""
        return self._server.process_id

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Have one structure evaluated.

        Raises
        ------
        CalculatorError
            The force field fails, or its server dies twice.
        """
        super().calculate(atoms, list(properties), list(system_changes))
        assert self.atoms is not None
        (self.results,) = self._evaluate([self.atoms], properties)

    def predict(self, structures: Sequence[Atoms]) -> list[Results]:
        """Have several structures evaluated in one message.

        Parameters
        ----------
        structures : sequence of ase.Atoms

        Returns
        -------
        list of dict
            Results of each, by ASE's names: at least ``energy`` (eV) and ``forces`` (n_atoms, 3), eV/Å.

        Raises
        ------
        CalculatorError
            As :meth:`calculate`; the message counts the structures before.
        """
        return list(self._evaluate(structures, ["forces"]))

    def reset(self) -> None:
        """Forget atoms and results, here and there."""
        super().reset()
        self._fresh = True

    def close(self) -> None:
        """End the server, or leave it to its other users."""
        self._server.close()

    # -- parts ----------------------------------------------------------------------------------------------

    def _introduce(self) -> Header:
        """Start the server and hear what it holds."""
        self._server.start()
        introduction = self._server.introduction
        if introduction["say"] != "ready":
            self._server.close()
            raise _as_raised(introduction, self._server.served)
        return introduction

    def _evaluate(self, structures: Sequence[Atoms], properties: Sequence[str]) -> Iterator[Results]:
        """Iterate over the results of some structures."""
        request: Header = {"do": "evaluate", "fresh": self._fresh, "properties": list(properties)}
        answer, arrays = self._ask(request, structures)
        self._fresh = False
        for k, result in enumerate(cast("list[Header]", answer["results"])):
            if "error" in result:
                raise _as_raised(result, self._server.served)
            own = {name.rpartition("/")[0]: value for name, value in arrays.items() if name.endswith(f"/{k}")}
            yield {name: value if value.ndim else value.item() for name, value in own.items()}

    def _ask(self, request: Header, structures: Sequence[Atoms]) -> tuple[Header, Mapping[str, NDArray[np.generic]]]:
        """Ask, and once more where the server died; a new one starts as the first did."""
        try:
            return self._server.ask(request, structures)
        except ServerDiedError:
            self._introduce()
        try:
            return self._server.ask({**request, "fresh": True}, structures)
        except ServerDiedError as error:
            formulas = ", ".join(sorted({atoms.get_chemical_formula() for atoms in structures}))
            raise CalculatorError(
                f"the server of '{self._server.served.name}' died twice over {formulas}: {error}"
            ) from None

    def _descriptors(self, atoms: Atoms) -> NDArray[np.generic]:
        """Features of each atom, (n_atoms, n_features)."""
        answer, arrays = self._ask({"do": "describe"}, [atoms])
        (result,) = cast("list[Header]", answer["results"])
        if "error" in result:
            raise _as_raised(result, self._server.served)
        return arrays["descriptors/0"]


def _as_raised(told: Header, served: ServedCalculator) -> Exception:
    """Make the error that the force field raised: one of screen-cli's as such, any other as a CalculatorError."""
    name, reason = str(told["error"]), str(told["reason"])
    own = getattr(screen_cli.errors, name, None)
    if told.get("module") == "screen_cli.errors" and isinstance(own, type) and issubclass(own, ScreenError):
        return own(reason)
    if told.get("say") == "refused" and name == "TypeError":
        return TypeError(reason)
    if told.get("say") == "refused" and name in ("ImportError", "ModuleNotFoundError"):
        uv = "uv pip install --python" if shutil.which("uv") else ""
        fix = f"{uv or 'install it with'} {served.environment.python}{'' if uv else ' -m pip install'} …"
        return ImportError(f"{reason} in the environment '{served.environment.name}' ({fix})")
    if told.get("say") == "refused":
        return PluginError(f"calculator '{served.name}' cannot be made: {name}: {reason}")
    return CalculatorError(f"{served.name}: {name}: {reason}")
