# Rules that cannot be made, and leave everything as it was.
principal add billing --quiet
principal add orders --quiet
principal add ledger --quiet
principal add portal --quiet
principal add approvals --quiet
group add edge --quiet
group add-member edge billing --quiet
policy allow nobody orders
policy allow billing nobody
policy allow group:nowhere orders
policy allow billing billing
policy allow billing orders --scope 'not a scope'
policy allow billing orders --max-ttl soon
policy allow billing orders --max-ttl 2w
policy allow orders ledger --discharge nobody=four-eyes
policy allow orders ledger --discharge approvals
policy allow orders ledger --deny-via group:nowhere
policy allow orders ledger --require-via nobody
policy allow orders ledger --deny-via portal@corp.example
policy allow orders ledger --max-depth 9
policy allow orders ledger --max-depth x
policy allow orders ledger --methods get
policy allow orders ledger --path ../etc
policy allow orders ledger --from 10.0.0.1/8
policy allow orders ledger --peer example.org
policy allow orders ledger --jwt --methods GET
policy allow billing orders --subject 'users*'
policy allow billing orders --behalf 'users*'
policy list
audit export
