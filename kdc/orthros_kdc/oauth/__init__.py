"""OAuth 2 over HTTP, decided: requests, client authentication, grants, errors and answers as pure functions."""
