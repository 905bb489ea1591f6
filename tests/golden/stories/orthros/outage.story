# The KDC is gone, then the daemon.
ticket orders --scope read
kdc ends
ticket orders --scope read
--timeout 1 ticket orders --ttl 63
--timeout 1 renew orders
status
list
--timeout 1 doctor --target ledger
daemon ends
status
ticket orders --scope read
doctor
