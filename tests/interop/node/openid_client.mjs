// openid-client against the KDC: {issuer, secrets} on standard input, what happened as one JSON object on standard output.
import { readFileSync } from 'node:fs'
import * as client from 'openid-client'

const { issuer, secrets } = JSON.parse(readFileSync(0, 'utf8'))
const configured = (id, method) =>
  client.discovery(new URL(issuer), id, undefined, method(secrets[id]), { algorithm: 'oauth2' })
const refusal = (promise) => promise.then(() => 'accepted', (e) => ({ error: e.error, status: e.status }))

const shop = await configured('shop', client.ClientSecretPost)
const relay = await configured('relay', client.ClientSecretBasic)
const orders = await configured('orders', client.ClientSecretJwt)

const token = await client.clientCredentialsGrant(shop, { audience: 'orders', scope: 'read' })
const before = await client.tokenIntrospection(orders, token.access_token)
await client.tokenRevocation(shop, token.access_token)
const call = await client.clientCredentialsGrant(shop, { resource: 'orthros:relay@corp.test' })
const exchange = (subject_token, audience) =>
  client.genericGrantRequest(relay, 'urn:ietf:params:oauth:grant-type:token-exchange', {
    subject_token,
    subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    requested_token_type: 'urn:ietf:params:oauth:token-type:jwt',
    audience,
  })
const onBehalf = await exchange(call.access_token, 'orders')

console.log(JSON.stringify({
  metadata: shop.serverMetadata(),
  token,
  expiresIn: token.expiresIn(),
  before,
  after: await client.tokenIntrospection(orders, token.access_token),
  onBehalf,
  looked: await client.tokenIntrospection(orders, onBehalf.access_token),
  refused: {
    subject: await refusal(exchange(token.access_token, 'orders')),
    target: await refusal(client.clientCredentialsGrant(shop, { audience: 'nowhere' })),
  },
}))
