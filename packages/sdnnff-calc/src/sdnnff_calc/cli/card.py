"""The card of a checkpoint in words, as ``sdnnff info`` prints it."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["card_lines"]

_FORCE_UNIT = "_ev_per_angstrom"
_MOST_ROWS = 20


def card_lines(card: Mapping[str, object]) -> list[str]:
    """Say a card, one line per topic and one per row of a table; more than twenty rows of one number share a line.

    Parameters
    ----------
    card : mapping of str to object
        Free text and numbers by topic. A table is a mapping of rows, each a mapping of numbers; where a topic
        ends in ``_ev_per_angstrom`` its numbers are in eV/Å and are shown in meV/Å.

    Returns
    -------
    list of str
        Lines without line ends; rows are indented by two spaces.
    """
    lines = []
    for topic, value in card.items():
        are_forces = topic.endswith(_FORCE_UNIT)
        title = f"{topic.removesuffix(_FORCE_UNIT)}, meV/Å:" if are_forces else f"{topic}:"
        if not isinstance(value, Mapping):
            lines.append(f"{title} {_show(value, are_forces)}")
            continue
        if len(value) > _MOST_ROWS and not any(isinstance(row, Mapping) for row in value.values()):
            lines.append(f"{title} {', '.join(f'{row} {_show(number, are_forces)}' for row, number in value.items())}")
            continue
        lines.append(title)
        width = max((len(str(row)) for row in value), default=0)
        for row, numbers in value.items():
            if isinstance(numbers, Mapping):
                text = ", ".join(f"{name} {_show(number, are_forces)}" for name, number in numbers.items())
            else:
                text = _show(numbers, are_forces)
            lines.append(f"  {row!s:<{width}}  {text}")
    return lines


def _show(value: object, are_forces: bool) -> str:
    """Spell one entry."""
    if are_forces and isinstance(value, (int, float)):
        return f"{1000.0 * value:.1f}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
