"""`make demo`: three small services, and one script that founds a realm for them and lets them call each other."""
