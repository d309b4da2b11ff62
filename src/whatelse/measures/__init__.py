"""How well an attack did: rates, curves, controls and spreads, with intervals."""
