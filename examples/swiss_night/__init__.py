"""Swiss night: a tournament as a gathering. `docs/first-behaviour.md` walks through it."""
