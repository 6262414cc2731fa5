"""The ways in besides our own server: connections that a program has accepted itself."""

from squire_gatherings._ways_in.attending import attend_channel
from squire_gatherings._ways_in.channel_connection import Channel
from squire_gatherings._ways_in.trio_websocket import attend

__all__ = ["Channel", "attend", "attend_channel"]
