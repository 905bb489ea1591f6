"""What the KDC does with one request: prove, charge, decide, record, answer."""
