"""Route the presence of a Synapse by a presence router: the module for `modules:` in homeserver.yaml."""

from .module import PresenceRouter

__all__ = ["PresenceRouter"]
