"""Simulated CT, for users without CT: procedural phantoms, and CT painted around real label maps.

Seeds or label maps come in; cases in KiTS19's folder format go out, always called simulated.
"""

import lazy_loader

#: Imported when they are asked for: settings alone, and commands that compute nothing, stay fast.
_HOMES = {
    "cases": ["write_hybrid", "write_phantoms"],
    "phantom": ["Simulated", "simulate_case"],
    "settings": ["Simulation"],
}
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs=_HOMES)
