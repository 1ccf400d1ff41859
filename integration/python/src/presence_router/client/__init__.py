"""Publish updates, ask the four queries and read deliveries, with asyncio over a connection of yours."""

from .client import Client, Interest
from .deliveries import Deliveries, ReceivedDelivery
from .errors import (
    APIError,
    ClientError,
    ExpiredError,
    InvalidDeliveryError,
    PagesError,
    PublishError,
    ReadingError,
    UnavailableError,
    UnknownOutcomeError,
)
from .position import Position
from .publisher import Publisher, Receipt
from .selection import Selection

__all__ = [
    "APIError",
    "Client",
    "ClientError",
    "Deliveries",
    "ExpiredError",
    "Interest",
    "InvalidDeliveryError",
    "PagesError",
    "Position",
    "PublishError",
    "Publisher",
    "ReadingError",
    "Receipt",
    "ReceivedDelivery",
    "Selection",
    "UnavailableError",
    "UnknownOutcomeError",
]
