"""Built-in per-structure properties."""

from __future__ import annotations

from collections.abc import Iterator

from screen_cli.plugins.hookspecs import hookimpl
from screen_cli.plugins.records import EnvironmentRecipe, PropertyPlugin


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
        record="screen_cli.properties.rattler:Rattler",
    )
    yield PropertyPlugin(
        name="formation_energy",
        version="2",
        summary="The relaxed crystal against the elements in their own structures, by the same force field",
        needs=("relax",),
        columns=(
            (
                "formation_energy_model_ev_atom",
                "energy against the elements by this force field, eV/atom",
            ),
            ("formation_energy_warning", "what speaks against it"),
        ),
        factory="screen_cli.properties.formation_energy:formation_energy",
        record="screen_cli.properties.formation_energy:FormationEnergy",
        uses_calculator=True,
        fingerprint="screen_cli.properties.formation_energy:fingerprint",
        before_gate=True,
    )
    yield PropertyPlugin(
        name="descriptor",
        summary="What the force field sees of a crystal, one vector: the t-SNE map of the report",
        needs=("relax",),
        columns=(("n_features", "length of the vector"),),
        factory="screen_cli.properties.descriptor:descriptor",
        record="screen_cli.properties.descriptor:Descriptor",
        uses_calculator=True,
    )
    yield from _bonding()
    yield from _expansion()
    yield from _warm()


def _bonding() -> Iterator[PropertyPlugin]:
    """Register what tells of the electrons of a crystal."""
    yield PropertyPlugin(
        name="cohp",
        version="2",
        summary="Bonding and antibonding: LOBSTER's files (option: folder), or GPAW computes (source = 'gpaw')",
        needs=("relax",),
        columns=(
            ("cohp_source", "program and basis; values of two sources must not be compared"),
            ("cohp_bonding_ev", "bonding part of the COHP of the occupied states, mean over the bonds, eV"),
            ("cohp_antibonding_ev", "antibonding part, likewise, eV"),
            ("icohp_mean_ev", "mean of the integrated COHP, eV (negative: bonding)"),
            ("icohp_strongest_ev", "integrated COHP of the strongest bond, eV"),
            ("n_bonds", "pairs of atoms in LOBSTER's file; in the nearest shells of the cell (GPAW)"),
            ("cohp_consistent", "whether LOBSTER's curves and list agree to 5 %"),
            ("cohp_gap_ev", "band gap in that basis, eV; 0 of a metal (GPAW)"),
            ("cohp_spilling", "largest share of a band that orbitals of free atoms do not hold (GPAW)"),
        ),
        factory="screen_cli.properties.cohp.property:cohp",
        record="screen_cli.properties.cohp.bonding:Bonding",
        uses_structure=True,
        fingerprint="screen_cli.properties.cohp.property:fingerprint",
        environment=EnvironmentRecipe(
            name="gpaw",
            requirements=("gpaw==25.7.0", "gpaw-data==1.2.1"),
            python=((3, 11), (3, 13)),
            gigabytes=0.5,
            weights="PAW datasets inside",
            note="is compiled: needs gcc, libxc and a BLAS with headers (Debian: gcc libxc-dev libopenblas-dev)",
            tested="crystals",
        ),
    )


def _warm() -> Iterator[PropertyPlugin]:
    """Register what tells of crystals at a temperature."""
    module = "screen_cli.properties.warm"
    yield PropertyPlugin(
        name="anharmonicity",
        version="3",
        summary="σ^A: share of the forces at temperatures that harmonic force constants do not explain",
        needs=("displace", "force_constants"),
        columns=(
            ("sigma_a_300k", "σ^A at 300 K (one for each temperature of the options)"),
            ("sigma_a_300k_error", "its standard error"),
        ),
        factory=f"{module}.anharmonicity:anharmonicity",
        record=f"{module}.anharmonicity:Anharmonicity",
        uses_calculator=True,
        before_gate=True,
    )
    yield PropertyPlugin(
        name="soft_mode",
        version="2",
        summary="Follow the worst imaginary mode: energy curves, and what the crystal becomes",
        needs=("displace", "force_constants"),
        columns=(
            ("soft_mode", "whether a commensurate mode is imaginary"),
            ("soft_mode_thz", "lowest commensurate frequency, THz, imaginary ones negative"),
            ("soft_mode_qpoint", "wave vector of the mode followed, in units of the reciprocal primitive cell"),
            ("soft_mode_directions", "directions that symmetry singles out"),
            ("soft_mode_depth_mev", "how far the energy falls along the best of them, meV per atom"),
            ("known_children", "phases of lower symmetry that literature reports for this compound"),
            ("child_id", "id of the relaxed child"),
            ("child_space_group", "its space group"),
            ("child_symbol", "Hermann-Mauguin symbol of its space group"),
            ("child_name", "the known phase of that space group"),
            ("child_doi", "the paper that reports it"),
            ("child_n_atoms", "atoms of its primitive cell"),
            ("child_energy_gain_mev", "how far it lies below the parent, meV per atom"),
            ("child_reason", "why there is no child"),
        ),
        factory=f"{module}.soft_mode:soft_mode",
        record=f"{module}.soft_mode:SoftMode",
        uses_calculator=True,
        uses_structure=True,
        before_gate=True,
    )
    yield PropertyPlugin(
        name="loop",
        version="3",
        summary="First-order shift of the frequencies by fourth-order force constants within a cutoff",
        needs=("displace", "force_constants"),
        columns=(
            ("loop_300k_min_thz", "lowest commensurate frequency with the loop at 300 K, THz"),
            ("loop_300k_bare_min_thz", "the same without it"),
            ("n_params_fc4", "free parameters of fc4"),
        ),
        factory=f"{module}.fourth_order:loop",
        record=f"{module}.fourth_order:Loop",
        uses_calculator=True,
        before_gate=True,
    )


def _expansion() -> Iterator[PropertyPlugin]:
    """Register elastic constants and the routes to thermal expansion."""
    module, records = "screen_cli.properties.expansion.properties", "screen_cli.properties.expansion.records"
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
        record=f"{records}:ElasticConstants",
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
        record=f"{records}:ThermalExpansion",
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
        record=f"{records}:ThermalExpansionFromStrains",
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
        record=f"{records}:VolumeScan",
        uses_calculator=True,
    )
