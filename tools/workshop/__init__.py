"""What makes and shows Orthros and is no part of it: in the repository, not in the wheel."""
