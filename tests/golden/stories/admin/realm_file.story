# The realm as a file.
realm validate realm.toml
realm validate broken.toml
realm validate not-toml.toml
realm validate other-realm.toml
realm validate missing.toml
realm diff realm.toml
realm diff broken.toml
realm diff other-realm.toml
realm apply realm.toml
realm apply realm.toml --yes
realm apply realm.toml --yes
realm diff realm.toml
realm export
realm export exported.toml
realm export exported.toml
policy allow shop orders --scope extra
realm diff realm.toml
realm diff smaller.toml
realm diff smaller.toml --prune-principals
realm apply smaller.toml
realm apply smaller.toml --yes --max-removals 0
realm apply smaller.toml --yes --max-removals 9
realm apply smaller.toml --yes --prune-principals --max-removals 9
realm apply other-realm.toml --yes
realm apply broken.toml --yes
realm apply missing.toml --yes
realm export
audit tail -n 20
audit export
