"""The KDC's HTTP port: requests read whole and bounded, probes, TLS. Knows no OAuth; `oauth/` knows no HTTP."""
