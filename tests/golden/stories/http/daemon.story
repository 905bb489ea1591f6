# The daemon's HTTP socket: tickets, tokens, status, probes.
GET /livez
GET /readyz
GET /v1/status
GET /v1/status -H LOCAL
GET /v1/ticket?target=orders
GET /v1/ticket?target=orders -H LOCAL
GET '/v1/ticket?target=orders&scope=read&ttl=60' -H LOCAL
GET '/v1/ticket?target=orders&scope=admin' -H LOCAL
GET '/v1/ticket?target=orders&target=ledger' -H LOCAL
GET '/v1/ticket?target=orders&colour=red' -H LOCAL
GET '/v1/ticket?target=orders&ttl=soon' -H LOCAL
GET /v1/ticket?target=Orders -H LOCAL
GET /v1/ticket -H LOCAL
GET /v1/ticket?target=spy -H LOCAL
GET /v1/token?target=ledger -H LOCAL
GET /v1/token?target=ledger@corp.test -H LOCAL
GET /v1/token?target=spy -H LOCAL
POST /v1/token?target=ledger -H LOCAL
HEAD /v1/token?target=ledger -H LOCAL
GET /v1/nowhere -H LOCAL
GET /nowhere
GET /v1/status -H LOCAL -H 'Origin: https://evil.example'
GET /v1/status -H LOCAL -H 'Host: evil.example'
