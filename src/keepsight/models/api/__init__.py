"""Models behind OpenAI-compatible servers: `api:model@base_url`."""

from keepsight.models.api.budget import Budget, Estimate, Prices, Usage
from keepsight.models.api.model import ServedModel
from keepsight.models.api.options import LIMITS, ServedOptions, served_arguments, served_options

__all__ = [
    "LIMITS",
    "Budget",
    "Estimate",
    "Prices",
    "ServedModel",
    "ServedOptions",
    "Usage",
    "served_arguments",
    "served_options",
]
