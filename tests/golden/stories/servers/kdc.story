# orthros-kdc: what it does before it serves, and why it does not serve.
orthros-kdc
orthros-kdc frobnicate
orthros-kdc init
orthros-kdc init --realm corp.example --data new --listen 127.0.0.1:7788
orthros-kdc init --realm corp.example --data new
orthros-kdc init --realm corp.example --data other --issuer https://kdc.corp.example
orthros-kdc init --realm Corp --data bad
orthros-kdc init --realm corp.example --data bad --issuer nonsense
orthros-kdc init --realm corp.example --data bad --listen nonsense
orthros-kdc init --realm corp.example --data realm.toml
orthros-kdc init --realm corp.example --data realm.toml/below
orthros-kdc config validate --config new/kdc.toml
orthros-kdc restored --config missing.toml
orthros-kdc restored --config new/kdc.toml
orthros-admin --config new/kdc.toml audit tail
orthros-kdc restored --config new/kdc.toml --store missing.db
orthros-kdc restored --config new/kdc.toml --master-key-file other/master.key
orthros-kdc serve --config missing.toml
orthros-kdc serve --config realm.toml
orthros-kdc serve --config new/kdc.toml --store missing.db
orthros-kdc serve --config new/kdc.toml --store realm.toml
orthros-kdc serve --config new/kdc.toml --master-key-file missing.key
orthros-kdc serve --config new/kdc.toml --master-key-file other/master.key
orthros-kdc serve --config new/kdc.toml --tcp nonsense
orthros-kdc serve --config new/kdc.toml --tcp 192.0.2.1:7788
orthros-kdc serve --config new/kdc.toml --tcp 127.0.0.1:0 --unix missing/kdc.sock
orthros-kdc serve --config new/kdc.toml --tcp 127.0.0.1:0 --unix realm.toml
orthros-kdc serve --config new/kdc.toml --tcp 127.0.0.1:0 --http 127.0.0.1:0 --http-tls-cert missing.pem --http-tls-key missing.pem
orthros-kdc serve --config new/kdc.toml --tcp 127.0.0.1:0 --http 0.0.0.0:0
orthros-kdc dev --tcp nonsense
