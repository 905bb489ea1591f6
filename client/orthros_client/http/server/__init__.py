"""The receiving side of HTTP: requests are judged, answers are proven."""
