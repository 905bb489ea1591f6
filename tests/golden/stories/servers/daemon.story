# orthros-daemon: why it does not serve.
orthros-daemon
orthros-daemon frobnicate
orthros-daemon version
orthros-daemon serve
orthros-daemon --config missing.toml
orthros-daemon --kdcs tcp://127.0.0.1:1 --keytab FOLDER/missing.key
orthros-daemon --kdcs tcp://127.0.0.1:1 --keytab FOLDER/realm.toml
orthros-daemon --kdcs tcp://127.0.0.1:1 --keytab realm.toml
orthros-daemon --kdcs nonsense
orthros-daemon --kdcs tcp://127.0.0.1:1 --login FOLDER/missing.login
orthros-daemon --kdcs tcp://127.0.0.1:1 --login FOLDER/realm.toml
orthros-kdc init --realm corp.example --data new
orthros-admin --config new/kdc.toml principal add web --out web.key --verify-only-out web.verify.key --quiet
orthros-daemon --kdcs tcp://127.0.0.1:1 --keytab FOLDER/web.verify.key
orthros-daemon --kdcs tcp://127.0.0.1:1 --keytab FOLDER/web.key --socket FOLDER/missing/web.sock
orthros-daemon --kdcs tcp://127.0.0.1:1 --keytab FOLDER/web.key --socket FOLDER/realm.toml
orthros-daemon --kdcs tcp://127.0.0.1:1 --keytab FOLDER/web.key --socket FOLDER/web.sock --http-socket FOLDER/missing/http.sock
orthros-daemon --frobnicate 1
