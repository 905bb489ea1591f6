# Tickets and tokens: asked for, listed, refused.
version
list
ticket orders --scope read
status
ticket orders
ticket orders --scope read --scope admin
ticket orders --ttl 60
ticket orders@corp.test --scope write
ticket orders --scope admin
ticket ledger --scope post
ticket spy
ticket nobody
ticket orders@other.test
ticket Orders
ticket orders --scope 'not a scope'
ticket orders --ttl soon
ticket orders --ttl -1
ticket
token ledger --scope post
token ledger
token orders
token spy
list
renew orders
renew nobody
renew
forget ledger
forget nobody
list
forget
list
doctor
doctor --keytab keys/shop.key --target orders
doctor --keytab keys/spy.key --target nobody
doctor --keytab missing.key
--socket missing.sock status
--socket missing.sock ticket orders
--timeout 0 status
--timeout x status
replay
replay renew
frobnicate

