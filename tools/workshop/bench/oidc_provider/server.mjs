// A client_credentials endpoint in memory that mints HS256 access tokens, as the KDC's does; prints its port.
import crypto from 'node:crypto';
import Provider from 'oidc-provider';

const target = 'urn:orthros:orders';
const provider = new Provider('http://127.0.0.1', {
  clients: [{
    client_id: 'billing',
    client_secret: process.env.CLIENT_SECRET,
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
    token_endpoint_auth_method: 'client_secret_basic',
  }],
  scopes: ['read', 'write'],
  features: {
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => target,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: 'read write',
        audience: 'orders',
        accessTokenTTL: 300,
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: 'HS256', key: crypto.createSecretKey(crypto.randomBytes(32)) } },
      }),
    },
  },
});
const server = provider.listen(0, '127.0.0.1', () => console.log(`ready ${server.address().port}`));
