"""Serve unmodified Synapse modules with presence router callbacks over the query protocol, without Synapse."""

from .hosted import Hosted, HostError, load
from .module_api import ModuleApi

__all__ = ["HostError", "Hosted", "ModuleApi", "load"]
