"""Where the realm is kept: one small interface and its implementations. Knows no policy and no messages."""
