# Requests to a service over HTTP.
call --target orders ORIGIN/orders/7
call --target orders --json '{"item": 7}' ORIGIN/orders
call --target orders -d a=1 -d b=2 ORIGIN/orders
call --target orders ORIGIN/health
call --target orders -v ORIGIN/orders/7
call --target orders -i ORIGIN/orders/7
call --target orders -I ORIGIN/orders/7
call --target orders -X DELETE ORIGIN/orders/7
call --target orders ORIGIN/nowhere
call --target orders -f ORIGIN/nowhere
call --target orders --scope read -f --json '{"item": 7}' ORIGIN/orders
call --target orders --scope read --json '{"item": 7}' ORIGIN/orders
call --target orders --scope admin ORIGIN/orders/7
call --target ledger ORIGIN/orders/7
call --target spy ORIGIN/orders/7
call --target orders --explain-http -X POST -H 'x-tenant: blue' --cover x-tenant --json '{}' ORIGIN/orders
call --target orders --user ada ORIGIN/orders/7
call --target orders --behalf ada ORIGIN/orders/7
call --target orders --delegable ORIGIN/orders/7
call --target orders --bearer ORIGIN/orders/7
call --target orders -o answer.json ORIGIN/orders/7
call --target orders -o answer.json ORIGIN/orders/7
call --target orders -T missing.txt ORIGIN/orders
call --target orders -H nonsense ORIGIN/orders/7
call --target orders --idempotency-key key-7 --json '{"item": 7}' ORIGIN/orders
call ORIGIN/orders/7
call --target orders nonsense
call --target orders ftp://host/x
call --target orders http://127.0.0.1:1/orders/7
narrow orders --scope read --method GET --path /orders --out job.credentials
call --credentials job.credentials --target orders ORIGIN/orders/7
call --credentials job.credentials --target orders --json '{"item": 7}' ORIGIN/orders
call --credentials job.credentials --target ledger ORIGIN/orders/7
call --credentials missing.credentials --target orders ORIGIN/orders/7
narrow orders --demand 'ledger=release 7' --out demanding.credentials
call --credentials demanding.credentials --target orders ORIGIN/orders/7
