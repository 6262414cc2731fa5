"""The client: joins gatherings, and stays in them through lost connections and dispersals."""

from squire_gatherings._client.client import Client, open_client
from squire_gatherings._client.gathering import Gathering
from squire_gatherings._client.settings import ClientSettings

__all__ = ["Client", "ClientSettings", "Gathering", "open_client"]
