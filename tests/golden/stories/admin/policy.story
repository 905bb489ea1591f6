# Rules: allowed, listed, denied.
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
