"""One thin file for each framework, each behind its own extra; what they decide is decided in `orthros_client.http`."""
