// A target that holds only its JWK file: node verify_jose.mjs FILE AUDIENCE ISSUER < token. Needs jose, no network.
import { readFileSync } from 'node:fs'
import { importJWK, jwtVerify } from 'jose'

const [file, audience, issuer] = process.argv.slice(2)
// The algorithm stands in the file; what the token says of it never counts.
const jwk = JSON.parse(readFileSync(file, 'utf8'))
// clockTolerance, in seconds: this clock may differ that much from the KDC's
const checks = {
  algorithms: [jwk.alg], audience, issuer, typ: 'orthros+jwt', requiredClaims: ['exp', 'sub', 'scope'], clockTolerance: 5,
}
const { payload } = await jwtVerify(readFileSync(0, 'utf8').trim(), await importJWK(jwk), checks)
console.log(JSON.stringify(payload))
