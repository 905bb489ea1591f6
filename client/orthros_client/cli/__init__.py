"""The command `orthros`: what the local daemon holds, for people and scripts."""
