# Principals: added, looked at, limited, disabled, deleted.
principal list
principal add billing
principal add orders --out orders.key --verify-only-out orders.verify.key --max-ticket-s 15m --max-jwt-s 60
principal add shop/web --quiet
principal add batch --out -
principal add billing
principal add new --out billing.key
principal add new --out missing/new.key
principal add Billing
principal add kdc/tgt
principal add new --max-ticket-s 0
principal add new --max-ticket-s 25h
principal add a b
principal list
principal list --quiet
principal show billing
principal show orders
principal show nobody
principal limit billing --max-ticket-s 10m --max-jwt-s 1m --from 10.1.0.0/16 --from 2001:db8:1::/48
principal show billing
principal limit billing
principal limit billing --max-ticket-s none --max-jwt-s none --from any
principal limit billing --from 10.1.0.1/16
principal limit billing --from any --from 10.0.0.0/8
principal limit nobody --max-ticket-s 60
principal disable billing
principal disable billing
principal list
principal enable billing
principal enable billing
principal disable nobody
principal enable nobody
policy allow billing orders --scope read
policy allow orders billing
group add edge
group add-member edge billing
principal show billing
principal delete billing
principal delete billing --yes
principal delete billing --yes
principal add billing
principal
principal frobnicate
audit export
