"""The tests, in folders that mirror the package."""

from hypothesis import settings

# None measures how long something took: a machine may be busy.
settings.register_profile("steady", settings(), deadline=None)
settings.load_profile("steady")
