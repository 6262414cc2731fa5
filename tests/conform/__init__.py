"""The conformance test of clients: our clients pass, and broken ones are found."""
