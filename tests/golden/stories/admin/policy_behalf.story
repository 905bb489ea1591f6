# Calls on behalf of somebody, explained.
principal add billing --quiet
principal add orders --quiet
principal add ledger --quiet
principal add portal --quiet
principal add approvals --quiet
group add edge --quiet
group add-member edge billing --quiet
policy allow billing orders --scope read --max-ttl 15m --quiet
policy allow group:edge orders --scope list --scope write --jwt --delegable --quiet
policy allow billing orders --jwt --subject 'users/*' --subject ada --quiet
policy allow billing orders --subject '*' --quiet
policy allow orders ledger --scope read --behalf 'users/*' --from 10.0.0.0/8 --deny-via group:edge --require-via portal --max-depth 2 --callbacks --methods GET --methods HEAD --path /entries --peer 192.0.2.7 --discharge approvals=four-eyes --quiet
policy allow orders ledger --max-depth 0 --path /entries --quiet
policy allow portal orders --behalf '*' --delegable --quiet
policy explain orders ledger --scope read --behalf users/ada --via portal --from 10.1.2.3
policy explain orders ledger --scope read --behalf users/ada --via portal --from local
policy explain orders ledger --scope read --behalf users/ada --via billing
policy explain orders ledger --scope read --via portal --from 10.1.2.3
policy explain portal orders --behalf users/ada --via billing --delegable
policy explain orders ledger --subject a --behalf b
policy explain orders ledger --subject a --via portal
policy explain orders ledger --via nobody
policy explain orders ledger --behalf users/ada
policy explain orders ledger --via Portal
policy explain orders ledger --from example.org
policy allow orders ledger --scope read --scope write --behalf portal --within-subject
policy explain orders ledger --scope read --scope write --behalf portal
policy allow portal ledger --scope read --quiet
policy explain orders ledger --scope read --scope write --behalf portal
policy allow approvals ledger --scope read --until 2027-01-31 --quiet
policy allow approvals orders --scope read --until 2026-01-31T18:00:00+01:00 --quiet
policy list --ending 365d
policy explain approvals ledger
policy explain approvals orders
policy allow approvals orders --until tomorrow
