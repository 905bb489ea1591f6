// oauth4webapi against the KDC: {issuer, secrets} on standard input, what happened as one JSON object on standard output.
import { readFileSync } from 'node:fs'
import { SignJWT } from 'jose'
import * as oauth from 'oauth4webapi'

const { issuer, secrets } = JSON.parse(readFileSync(0, 'utf8'))
const url = new URL(issuer)
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
const asked = { audience: 'orders', scope: 'read erase' }

const found = await oauth.discoveryRequest(url, { algorithm: 'oauth2' })
const as = await oauth.processDiscoveryResponse(url, found)

// The library's own client_secret_jwt knows HS256 only; a method is a function, and this is one more.
const hs512 = (secret) => async (server, client, body) => {
  const assertion = new SignJWT({ jti: crypto.randomUUID() })
    .setProtectedHeader({ alg: 'HS512', typ: 'client-authentication+jwt' })
    .setIssuer(client.client_id).setSubject(client.client_id).setAudience(server.issuer)
    .setIssuedAt().setExpirationTime('1m')
  body.set('client_assertion_type', 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer')
  body.set('client_assertion', await assertion.sign(new TextEncoder().encode(secret)))
}
const methods = {
  basic: oauth.ClientSecretBasic, post: oauth.ClientSecretPost, jwt: oauth.ClientSecretJwt, hs512,
}

const credentials = async (id, auth, parameters = asked) => {
  const client = { client_id: id }
  const response = await oauth.clientCredentialsGrantRequest(as, client, auth, parameters)
  return oauth.processClientCredentialsResponse(as, client, response)
}
const exchange = async (id, token, parameters) => {
  const client = { client_id: id }
  const body = { subject_token: token, subject_token_type: ACCESS_TOKEN, ...parameters }
  const response = await oauth.genericTokenEndpointRequest(as, client, oauth.ClientSecretBasic(secrets[id]), EXCHANGE, body)
  return oauth.processGenericTokenEndpointResponse(as, client, response)
}
const introspect = async (id, token) => {
  const client = { client_id: id }
  const response = await oauth.introspectionRequest(as, client, oauth.ClientSecretBasic(secrets[id]), token)
  return oauth.processIntrospectionResponse(as, client, response)
}
const revoke = async (id, token) => {
  const response = await oauth.revocationRequest(as, { client_id: id }, oauth.ClientSecretPost(secrets[id]), token)
  return oauth.processRevocationResponse(response)
}
const refusal = (promise) => promise.then(() => 'accepted', (e) => ({ error: e.error, status: e.status, code: e.code }))

const tokens = {}
for (const id of ['shop', 'shop/web']) {
  for (const [name, method] of Object.entries(methods)) tokens[`${id} ${name}`] = await credentials(id, method(secrets[id]))
}
const revoked = tokens['shop basic'].access_token
const before = await introspect('orders', revoked)
await revoke('shop', revoked)
const call = await credentials('shop', oauth.ClientSecretBasic(secrets.shop), { audience: 'relay' })
const onBehalf = await exchange('relay', call.access_token, { audience: 'orders' })

console.log(JSON.stringify({
  as,
  tokens,
  before,
  after: await introspect('orders', revoked),
  onBehalf,
  looked: await introspect('orders', onBehalf.access_token),
  refused: {
    secret: await refusal(credentials('shop', oauth.ClientSecretBasic('wrong'))),
    unknown: await refusal(credentials('nobody', oauth.ClientSecretBasic('wrong'))),
    target: await refusal(credentials('shop', oauth.ClientSecretBasic(secrets.shop), { audience: 'nowhere' })),
    scope: await refusal(credentials('shop', oauth.ClientSecretBasic(secrets.shop), { ...asked, scope: 'erase' })),
    subject: await refusal(exchange('relay', tokens['shop post'].access_token, { audience: 'orders' })),
    back: await refusal(exchange('relay', call.access_token, { audience: 'shop' })),
  },
}))
