"""The force field as an ASE calculator: one model, a committee in one pass, and the door of ASE's plugins."""
