# The realm itself: limits, issuer, its own keys, its master key.
realm show
realm limit
realm limit --max-ticket-s 2h --max-tgt-s 10h --max-jwt-s 10m
realm limit --max-jwt-s 1m
realm limit --max-jwt-s 1m --yes
realm limit --max-jwt-s 1m --yes
realm limit --max-ticket-s 25h
realm limit --issuer https://kdc.corp.example --max-ticket-s 3h
realm limit --issuer nonsense
realm issuer https://kdc.corp.example:8443
realm issuer https://kdc.corp.example:8443
realm issuer http://kdc.corp.example
realm issuer ftp://x
realm show
later 60
realm rotate-keys
realm rotate-keys
realm erase-old-keys
later 90000
realm rotate-keys
later 90000
realm erase-old-keys
realm show
realm rewrap
realm new-master-key --out master.key.2
realm new-master-key --out master.key.2
realm rewrap --next-master-key-file missing.key
realm rewrap --next-master-key-file realm/master.key
audit export
realm rewrap --next-master-key-file master.key.2
realm show
realm show --master-key-file master.key.2
realm show --master-key-file master.key.2 --next-master-key-file realm/master.key
