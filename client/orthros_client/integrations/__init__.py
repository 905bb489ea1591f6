"""One thin file for each framework; what they decide is decided in `orthros_client.http`."""
