// Two stock clients that discover an authorization server: {issuer, secret} on standard input, JSON on standard output.
// Both refuse a document whose issuer is not the URL they asked. They speak plain HTTP only when told to.
import { readFileSync } from 'node:fs'
import * as oauth from 'oauth4webapi'
import * as client from 'openid-client'

const { issuer, secret } = JSON.parse(readFileSync(0, 'utf8'))
const url = new URL(issuer)
const plain = { [oauth.allowInsecureRequests]: true }
const answer = await oauth.discoveryRequest(url, { algorithm: 'oauth2', ...plain })
const as = await oauth.processDiscoveryResponse(url, answer)
const shop = await client.discovery(url, 'shop', undefined, client.ClientSecretBasic(secret), {
  algorithm: 'oauth2', execute: [client.allowInsecureRequests],
})
const token = await client.clientCredentialsGrant(shop, { audience: 'orders', scope: 'read' })
console.log(JSON.stringify({ issuer: as.issuer, token: token.access_token }))
