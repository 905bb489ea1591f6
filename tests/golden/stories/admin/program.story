# The program: its options, and files that cannot be used.


frobnicate
--output json
--output yaml principal list
principal list --outputt json
principal list --out json
--actor ada principal add billing
principal add orders --actor ada --quiet
principal add x --actor ''
audit tail -n 2
--config missing.toml principal list
--config realm principal list
--config realm/kdc.db principal list
--config not-toml.toml principal list
--store missing.db principal list
--store realm/kdc.toml principal list
--master-key-file missing.key principal list
--master-key-file realm/kdc.toml principal list
--next-master-key-file missing.key principal list
kdc accept-clock
kdc
--version
