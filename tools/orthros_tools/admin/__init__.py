"""The program `orthros-admin`: one module per noun over the use cases of `orthros_kdc.admin`.

Knows no rows and no key material: it opens the realm, calls one use case, and says what came of it.
"""
