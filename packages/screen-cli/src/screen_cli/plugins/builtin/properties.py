"""Built-in per-structure properties."""

from __future__ import annotations

from collections.abc import Iterator

from screen_cli.plugins.hookspecs import hookimpl
from screen_cli.plugins.records import PropertyPlugin


@hookimpl
def screen_properties() -> Iterator[PropertyPlugin]:
    """Register the properties of :mod:`screen_cli.properties.rattler`."""
    yield PropertyPlugin(
        name="rattler",
        summary="The element that moves most, and how much more than the rest",
        needs=("relax", "harmonic"),
        columns=(
            ("rattler_element", "element with the largest mean square displacement at the first temperature"),
            ("rattler_ratio", "its mean square displacement over the mean of all atoms"),
        ),
        factory="screen_cli.properties.rattler:rattler",
    )
    yield PropertyPlugin(
        name="descriptor",
        summary="What the force field sees of a crystal, one vector: the t-SNE map of the report",
        needs=("relax",),
        columns=(("n_features", "length of the vector"),),
        factory="screen_cli.properties.descriptor:descriptor",
        uses_calculator=True,
    )
    yield PropertyPlugin(
        name="cohp",
        summary="Bonding and antibonding from LOBSTER's COHPCAR.lobster and ICOHPLIST.lobster (option: folder)",
        columns=(
            ("cohp_bonding_ev", "bonding part of the COHP up to the Fermi level, mean over the pairs, eV"),
            ("cohp_antibonding_ev", "antibonding part, likewise, eV"),
            ("icohp_mean_ev", "mean ICOHP at the Fermi level, eV (negative: bonding)"),
            ("icohp_strongest_ev", "ICOHP of the strongest bond, eV"),
            ("n_bonds", "pairs of atoms in the file"),
            ("cohp_consistent", "whether curves and list agree to 5 %"),
        ),
        factory="screen_cli.properties.cohp:cohp",
        pip="screen-cli[cohp]",
        uses_structure=True,
        fingerprint="screen_cli.properties.cohp:fingerprint",
    )
    yield from _expansion()


def _expansion() -> Iterator[PropertyPlugin]:
    """Register elastic constants and the routes to thermal expansion."""
    module = "screen_cli.properties.expansion.properties"
    yield PropertyPlugin(
        name="elastic",
        summary="Elastic constants by stress-strain, ions relaxed",
        needs=("displace",),
        columns=(
            ("bulk_modulus_gpa", "bulk modulus (Reuss), GPa"),
            ("shear_modulus_gpa", "shear modulus (Hill), GPa"),
            ("pugh_ratio", "bulk over shear modulus (Hill)"),
            ("poisson_ratio", "Poisson ratio (Hill)"),
            ("mechanically_stable", "whether the elastic tensor is positive"),
        ),
        factory=f"{module}:elastic",
        uses_calculator=True,
    )
    yield PropertyPlugin(
        name="expansion",
        summary="Thermal expansion and Grüneisen parameters from fc3",
        needs=("displace", "force_constants", "property_elastic"),
        columns=(
            ("gamma_mean", "mean Grüneisen parameter at 300 K"),
            ("alpha_linear_300k", "linear thermal expansion at 300 K (a third of the volumetric one), 1/K"),
            ("alpha_a_300k", "along the conventional a axis, 1/K"),
            ("alpha_b_300k", "along the conventional b axis, 1/K"),
            ("alpha_c_300k", "along the conventional c axis, 1/K"),
        ),
        factory=f"{module}:expansion",
    )
    yield PropertyPlugin(
        name="expansion_strain",
        summary="The same from strained crystals",
        needs=("displace", "force_constants", "property_elastic"),
        columns=(
            ("gamma_mean_strain", "mean Grüneisen parameter at 300 K"),
            ("alpha_linear_300k_strain", "linear thermal expansion at 300 K, 1/K"),
        ),
        factory=f"{module}:expansion_strain",
        uses_calculator=True,
    )
    yield PropertyPlugin(
        name="quasi_harmonic",
        summary="The same from a quasi-harmonic volume scan (phonopy)",
        needs=("displace", "force_constants"),
        columns=(
            ("qha_alpha_linear_300k", "linear thermal expansion at 300 K, 1/K"),
            ("qha_bulk_modulus_300k_gpa", "isothermal bulk modulus at 300 K, GPa"),
            ("qha_gamma_300k", "thermodynamic Grüneisen parameter at 300 K"),
        ),
        factory=f"{module}:quasi_harmonic",
        uses_calculator=True,
    )
