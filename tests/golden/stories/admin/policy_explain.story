# Rules explained, and held to expectations.
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
jwt enable orders --quiet
policy explain billing orders
policy explain billing orders --scope read --scope admin --ttl 1h
policy explain billing orders --scope read --ttl 5s
policy explain billing orders --scope admin
policy explain billing orders --scope read --scope admin --exact
policy explain billing orders --jwt --scope list
policy explain billing orders --jwt --subject users/ada
policy explain billing orders --jwt --subject users/ada --exact
policy explain billing orders --delegable
policy explain orders billing --scope read
policy explain billing ledger --jwt
policy explain billing kdc/tgt
policy explain nobody orders
policy explain billing nobody
policy test expectations.toml
policy test wrong-expectations.toml
policy test half-expectations.toml
policy test not-toml.toml
policy test missing.toml
principal disable orders --quiet
policy explain billing orders --scope read
principal enable orders --quiet
