# Less authority than one has: narrowed, handed over, received, inspected; a worker's login.
narrow orders --scope read --method GET --path /orders --lifetime 10m --out job.credentials
narrow orders --scope read --out job.credentials
narrow orders --out same.credentials
narrow orders --scope admin --out wider.credentials
narrow orders --scope read --lifetime 100h --out longer.credentials
narrow orders --scope read --path orders --out bad.credentials
narrow orders --scope read --method get --out bad.credentials
narrow orders --peer nowhere --out bad.credentials
narrow orders --app x=1 --out bad.credentials
narrow orders --lifetime never --out bad.credentials
narrow --scope read --out bad.credentials
narrow orders --scope read
narrow --from job.credentials --path /orders/7 --out step.credentials
narrow --from step.credentials --path /elsewhere --out wider.credentials
narrow --from missing.credentials --path /orders/7 --out none.credentials
narrow orders --scope read --peer 10.0.0.0/8 --app shop/tenant=blue --demand 'ledger=release 7' --about shop --out demanding.credentials
narrow orders --scope read --to ledger --out for-ledger.handed
narrow orders --scope read --to nobody --out for-nobody.handed
narrow orders --scope read --to spy --out for-spy.handed
receive for-ledger.handed --out stolen.credentials
--socket ledger.sock receive for-ledger.handed --out received.credentials
--socket ledger.sock receive for-ledger.handed --out received.credentials
--socket ledger.sock list
--socket ledger.sock ticket orders
receive job.credentials --out no-hand-over.credentials
inspect received.credentials
receive missing.handed --out none.credentials
worker-login --target orders --scope read --lifetime 5m --out worker.login
worker-login --target orders --lifetime 100h --out worker.login
worker-login --target ledger --out ledger.login
worker-login --out none.login
inspect job.credentials
inspect step.credentials
inspect demanding.credentials
inspect received.credentials
inspect for-ledger.handed
inspect for-ledger.handed --key-file keys/ledger.key
inspect for-ledger.handed --key-file keys/shop.key
inspect worker.login
inspect keys/shop.key
inspect keys/orders.verify.key
inspect keys/ledger.jwk
inspect nonsense
inspect keys
inspect missing
inspect job.credentials --key-file keys/orders.verify.key
inspect job.credentials --key-file keys/ledger.verify.key
inspect job.credentials --key-file missing.key
inspect --schema note
inspect --schema notes
