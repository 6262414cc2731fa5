"""The client: joins gatherings, and stays in them through lost connections and dispersals."""

from squire_gatherings._client.client import Client, open_client
from squire_gatherings._client.settings import ClientSettings
from squire_gatherings._client.tournament import Tournament

__all__ = ["Client", "ClientSettings", "Tournament", "open_client"]
