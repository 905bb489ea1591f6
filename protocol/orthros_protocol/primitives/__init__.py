"""What every message is made of: canonical bytes, derived keys, sealed boxes, frames, names, times and sizes."""
