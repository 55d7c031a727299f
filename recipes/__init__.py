"""How the bundled weights and large runs are made: scripts and configurations that use the packages as anyone would."""
