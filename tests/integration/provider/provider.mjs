// A real OpenID Connect provider (the package oidc-provider) with one client, for the tests of signing in: everybody may
// sign in under any name, with that name as the group. Arguments: port, client id, client secret, address of the client.
import Provider from "oidc-provider";

const [port, id, secret, client] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const provider = new Provider(issuer, {
  clients: [
    {
      client_id: id,
      client_secret: secret,
      redirect_uris: [`${client}/sign-in/back`],
      post_logout_redirect_uris: [`${client}/`],
      grant_types: ["authorization_code"],
      response_types: ["code"],
    },
  ],
  claims: { openid: ["sub"], profile: ["preferred_username", "groups"], email: ["email"] },
  findAccount: (_, subject) => ({
    accountId: subject,
    claims: () => ({ sub: subject, preferred_username: `${subject} smith`, groups: [subject, "everybody"] }),
  }),
  pkce: { required: () => true },
  features: { devInteractions: { enabled: true }, rpInitiatedLogout: { enabled: true } },
  cookies: { keys: ["a key of the tests"] },
});
provider.listen(Number(port), "127.0.0.1", () => console.log(`listening at ${issuer}`));
