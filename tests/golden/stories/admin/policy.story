# Rules: allowed, listed, denied; conditions that are none.
principal add billing --quiet
principal add orders --quiet
principal add ledger --quiet
principal add portal --quiet
principal add approvals --quiet
group add edge --quiet
group add-member edge billing --quiet
policy list
policy allow billing orders --scope read --max-ttl 15m
policy allow billing orders --scope read --max-ttl 15m
policy allow group:edge orders --scope list --scope write --jwt --delegable
policy allow billing orders --jwt --subject 'users/*' --subject ada
policy allow billing orders --subject '*'
policy allow orders ledger --scope read --behalf 'users/*' --from 10.0.0.0/8 --deny-via group:edge --require-via portal --max-depth 2 --callbacks --methods GET --methods HEAD --path /entries --peer 192.0.2.7 --discharge approvals=four-eyes
policy allow orders ledger --max-depth 0 --path /entries
policy allow portal orders --behalf '*' --delegable
policy list
policy allow nobody orders
policy allow billing nobody
policy allow group:nowhere orders
policy allow billing billing
policy allow billing orders --scope 'not a scope'
policy allow billing orders --max-ttl soon
policy allow billing orders --max-ttl 2d
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
policy deny --rule 99 --yes
policy deny billing nobody --yes
policy deny billing
policy deny
policy deny --rule 2
policy deny billing orders
policy deny billing orders --yes
policy deny billing orders --yes
policy list
audit export
