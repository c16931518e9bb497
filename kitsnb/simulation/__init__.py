"""Simulated CT, for users without CT: procedural phantoms, and CT painted around real label maps.

Seeds or label maps come in; cases in KiTS19's folder format go out, always called simulated. One painter serves both:
a phantom is a procedural label map that is handed to it.
"""

from kitsnb.simulation.cases import write_hybrid, write_phantoms
from kitsnb.simulation.phantom import Simulated, simulate_case
from kitsnb.simulation.settings import Simulation

__all__ = ["Simulated", "Simulation", "simulate_case", "write_hybrid", "write_phantoms"]
