"""Write a router of two async functions, and serve it over the query protocol."""

from .service import ALL_USERS, AllUsers, InterestedUsers, Service, UsersForStates

__all__ = ["ALL_USERS", "AllUsers", "InterestedUsers", "Service", "UsersForStates"]
