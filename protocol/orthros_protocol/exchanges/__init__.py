"""The exchanges, both ends of each: AS, TGS and AP, and how a target judges what is presented."""
