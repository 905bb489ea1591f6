# The KDC's HTTP port: metadata, probes, tokens and their refusals.
GET /.well-known/oauth-authorization-server
GET /livez
GET /readyz
GET /readyz/store
GET /readyz/audit
GET /readyz/nowhere
GET /nowhere
POST /livez
GET /token
HEAD /livez
OPTIONS /token
POST /token
POST /token -H 'Content-Type: text/plain' -d x
POST /token -H FORM -d grant_type=client_credentials
POST /token -H FORM -H 'Authorization: Basic !!!' -d grant_type=client_credentials
POST /token -H FORM -H 'Authorization: Basic c2hvcDp3cm9uZw==' -d grant_type=client_credentials
POST /token -H FORM -H BASIC -d grant_type=client_credentials
POST /token -H FORM -H BASIC -d 'grant_type=client_credentials&audience=orders&scope=list'
POST /token -H FORM -H BASIC -d 'grant_type=client_credentials&audience=orders&scope=list%20admin'
POST /token -H FORM -H BASIC -d 'grant_type=client_credentials&audience=orders&scope=admin'
POST /token -H FORM -H BASIC -d 'grant_type=client_credentials&audience=orders&scope=not%20a%20Scope'
POST /token -H FORM -H BASIC -d 'grant_type=client_credentials&audience=spy'
POST /token -H FORM -H BASIC -d 'grant_type=client_credentials&audience=Orders'
POST /token -H FORM -H BASIC -d 'grant_type=client_credentials&audience=orders&audience=ledger'
POST /token -H FORM -H BASIC -d 'grant_type=client_credentials&grant_type=client_credentials'
POST /token -H FORM -H BASIC -d grant_type=password
POST /token -H FORM -H BASIC -d nonsense
POST /token -H FORM -H BASIC -d %ff=%ff
POST '/token?client_secret=x' -H FORM -H BASIC -d grant_type=client_credentials
POST /token -H FORM -d 'grant_type=client_credentials&audience=orders&client_id=shop&client_secret=SECRET'
POST /token -H FORM -H BASIC -d 'grant_type=client_credentials&client_id=shop&client_secret=SECRET'
POST /token -H FORM -H BASIC -d 'grant_type=urn:ietf:params:oauth:grant-type:token-exchange'
POST /token -H FORM -H BASIC -d 'grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=x'
POST /token -H 'Content-Type: application/json' -d '{"sub": "shop", "aud": "orders"}'
POST /token -H 'Content-Type: application/json' -H BASIC -d '{"aud": "orders"}'
POST /authorize -H 'Content-Type: application/json' -d '{}'
POST /introspect -H FORM -H BASIC -d token=TOKEN
POST /introspect -H FORM -H BASIC -d token=nonsense
POST /introspect -H FORM -H BASIC
POST /introspect -H FORM -d token=TOKEN
POST /revoke -H FORM -H BASIC -d token=nonsense
POST /revoke -H FORM -H BASIC -d token=TOKEN
POST /revoke -H FORM -H BASIC
POST /introspect -H FORM -H BASIC -d token=TOKEN
