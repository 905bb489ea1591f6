"""`make measure`: how large and how tangled the product is, and how many Python calls its operations take."""
