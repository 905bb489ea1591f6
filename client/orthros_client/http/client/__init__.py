"""The sending side of HTTP: requests are bound to a ticket, answers are checked."""
