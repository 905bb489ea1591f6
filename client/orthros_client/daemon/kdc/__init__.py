"""The daemon's side of the KDC exchanges: which KDC, which login, which time."""
